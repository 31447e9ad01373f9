/** One frame of a device on its way to the broker. */
export interface Frame {
  readonly connectionId: string;
  readonly deviceId: string | undefined;
  /** Its place in what the connection has sent, from 0 without holes. */
  readonly fromDeviceSeq: number;
  readonly body: Buffer;
  /** When the gateway read it: wall clock, ms since the epoch. */
  readonly readAtMs: number;
  readonly source: FrameSource;
}

/** The side that frames come from. */
export interface FrameSource {
  /** The broker has taken responsibility for the frame. */
  frameConfirmed(frame: Frame): void;
  /** The broker takes no frame of more than `maxBytes`, nor ever will take this one. */
  frameRefused(frame: Frame, maxBytes: number): void;
  /** There is room again after `waitForRoom`; called once for each call of that. */
  roomAvailable(): void;
}

/** The side that frames go to: the node's window of unconfirmed frames. */
export interface FrameSink {
  /** False while the window is full; `publish` must then not be called. */
  readonly hasRoom: boolean;
  /** Takes the frame for good: it is published until the broker confirms it. */
  publish(frame: Frame): void;
  /** Queues the source for `roomAvailable`, first come first served. */
  waitForRoom(source: FrameSource): void;
}
