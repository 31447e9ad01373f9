import type { ConsumeMessage } from 'amqplib';

/** For what a delivery takes beside its body: the message, its headers, its place in the queues of a device. */
const OVERHEAD_BYTES = 1_536;

/** What the deliveries of a worker take in memory, from their basic.deliver until they are settled. */
export class ReplyMemory {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get isFull(): boolean {
    return this.#bytes >= this.#maxBytes;
  }

  take(message: ConsumeMessage): void {
    this.#bytes += message.content.length + OVERHEAD_BYTES;
  }

  free(message: ConsumeMessage): void {
    this.#bytes -= message.content.length + OVERHEAD_BYTES;
  }
}
