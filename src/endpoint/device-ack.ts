import type { Reply } from '../reply.ts';

export interface AckLimits {
  readonly enabled: boolean;
  /** `{seq}` stands for the last sequence number that is covered. */
  readonly template: string;
  readonly every: number;
  readonly intervalMs: number;
}

/**
 * Which of a device's frames are confirmed without a hole, and how much of that the device has been told. Pure.
 * Confirms may come out of order; an acknowledgement covers everything up to its number.
 */
export class DeviceAck {
  /** Frames confirmed from 0 without a hole. */
  #confirmed = 0;
  #told = 0;
  /** Confirmed behind a hole. */
  #ahead: Set<number> | null = null;

  confirm(seq: number): void {
    if (seq !== this.#confirmed) {
      this.#ahead ??= new Set();
      this.#ahead.add(seq);
      return;
    }
    this.#confirmed++;
    while (this.#ahead?.delete(this.#confirmed)) this.#confirmed++;
  }

  /** Frames that the device could be told of and was not. */
  get untold(): number {
    return this.#confirmed - this.#told;
  }

  /** The frame that tells of them all; they count as told. */
  take(template: string): Reply {
    this.#told = this.#confirmed;
    return new AckFrame(ackBody(template, this.#confirmed - 1));
  }
}

/** The acknowledgement of all frames up to a sequence number. */
export function ackBody(template: string, seq: number): Buffer {
  return Buffer.from(template.replaceAll('{seq}', String(seq)));
}

/** Travels through the outbox like a reply, so that it never lands in the middle of one. Nobody waits for its fate. */
class AckFrame implements Reply {
  readonly body: Buffer;
  readonly toDeviceSeq = undefined;
  readonly expiresAtMs = undefined;

  constructor(body: Buffer) {
    this.body = body;
  }

  get byteLength(): number {
    return this.body.length;
  }

  get heldBytes(): number {
    return this.body.length;
  }

  detach(): void {}

  settle(): void {}
}
