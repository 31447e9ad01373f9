import type { ChannelModel } from 'amqplib';

interface Frame {
  readonly channel: number;
}

/** The part of amqplib's connection that hands frames to channels; amqplib has no public name for it. */
export interface FrameDispatch {
  accept(frame: Frame): void;
  /** By number: `null` where a channel was closed. */
  readonly channels: readonly (object | null)[];
}

/**
 * Lets a connection ignore what still comes for a channel that is closed. A broker that closes a channel may have
 * deliveries for it under way; amqplib would give the whole connection up for one, and all other channels with it.
 */
export function ignoreLateFrames(model: ChannelModel): void {
  const connection = model.connection as unknown as FrameDispatch;
  const accept = connection.accept;
  connection.accept = function acceptUnlessLate(this: FrameDispatch, frame) {
    if (this.channels[frame.channel] !== null) accept.call(this, frame);
  };
}
