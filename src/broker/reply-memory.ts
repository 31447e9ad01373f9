import type { ConsumeMessage } from 'amqplib';
import { REPLY_OVERHEAD_BYTES } from '../reply.ts';
import { headerBytes } from './header-bytes.ts';

/** What a delivery that is not settled waits for: a device, the undelivered queue, or another node's inbox. */
export type WaitsFor = 'device' | 'undelivered' | 'forward';

/** Share of the limit that devices may hold on to once they have reached it. */
const ROOMY = 0.75;

/**
 * What the deliveries of a worker take in memory, from their basic.deliver until they are settled. Devices may hold up
 * to the limit, and as much may wait for the broker: neither takes the other's place.
 */
export class ReplyMemory {
  readonly #maxBytes: number;
  readonly #bytes = { device: 0, undelivered: 0, forward: 0 };

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get isFull(): boolean {
    const { device, undelivered, forward } = this.#bytes;
    return device >= this.#maxBytes || undelivered + forward >= this.#maxBytes;
  }

  /** Bytes that devices have to let go of for there to be room again. */
  get excess(): number {
    const { device } = this.#bytes;
    return device < this.#maxBytes ? 0 : device - ROOMY * this.#maxBytes;
  }

  take(message: ConsumeMessage, waitsFor: WaitsFor): void {
    this.#bytes[waitsFor] += bytesOf(message);
  }

  free(message: ConsumeMessage, waitsFor: WaitsFor): void {
    this.#bytes[waitsFor] -= bytesOf(message);
  }
}

function bytesOf({ content, properties }: ConsumeMessage): number {
  return content.length + headerBytes(properties.headers) + REPLY_OVERHEAD_BYTES;
}
