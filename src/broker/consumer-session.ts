import type { Channel, ConsumeMessage } from 'amqplib';
import { AckTracker } from './ack-tracker.ts';
import type { ReplyMemory, WaitsFor } from './reply-memory.ts';

/**
 * The deliveries of one channel. Delivery tags mean something on their own channel only, so a delivery keeps the
 * session it came in: settling one whose channel is gone does nothing, and the broker delivers it again.
 */
export class ConsumerSession {
  readonly #channel: Channel;
  readonly #memory: ReplyMemory;
  readonly #tracker = new AckTracker();
  #subscriptions = 0;
  #lastTag = 0;
  /** The last delivery that was set aside. */
  #asideUpTo = 0;
  #crowd = 0;
  #leastCrowd = 0;
  #flushScheduled = false;

  constructor(channel: Channel, memory: ReplyMemory) {
    this.#channel = channel;
    this.#memory = memory;
  }

  /** Subscribes; null means that the broker has cancelled the consumer (basic.cancel). */
  async consume(queue: string, onMessage: (message: ConsumeMessage | null) => void): Promise<void> {
    this.#subscriptions++;
    await this.#channel.consume(queue, onMessage, { consumerTag: this.#consumerTag });
  }

  /** Ends the subscription. Its deliveries can still be settled. */
  async cancel(): Promise<void> {
    await this.#channel.cancel(this.#consumerTag);
  }

  get #consumerTag(): string {
    return `owsla-${this.#subscriptions}`;
  }

  /** Nothing that was delivered waits for anything. */
  get isEmpty(): boolean {
    return this.#tracker.isEmpty;
  }

  /**
   * Deliveries that devices hold or that wait to be recorded as undelivered, but for those that were set aside.
   * Forwards do not count: where nothing can be forwarded, taking more would only give more back.
   */
  get crowd(): number {
    return this.#crowd;
  }

  /** The smallest crowd since the last call; a prefetch that turns over falls low now and then. */
  takeLeastCrowd(): number {
    const least = this.#leastCrowd;
    this.#leastCrowd = this.#crowd;
    return least;
  }

  /** Those that came so far do not count from now on. Returns how many of the crowd that were. */
  setAside(): number {
    const crowd = this.#crowd;
    this.#asideUpTo = this.#lastTag;
    this.#crowd = 0;
    this.#leastCrowd = 0;
    return crowd;
  }

  delivered(message: ConsumeMessage): void {
    this.#lastTag = message.fields.deliveryTag;
    this.#tracker.delivered(this.#lastTag);
    this.#memory.take(message, 'device');
    this.#crowd++;
  }

  moved(message: ConsumeMessage, from: WaitsFor, to: WaitsFor): void {
    this.#memory.take(message, to);
    if (this.#counts(message, to)) this.#crowd++;
    this.#left(message, from);
  }

  /** Acknowledges the delivery at the end of this turn, together with others. */
  settled(message: ConsumeMessage, from: WaitsFor = 'device'): void {
    this.#left(message, from);
    this.#tracker.settled(message.fields.deliveryTag);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => this.flush());
  }

  /** Returns the delivery to its queue, for any consumer to take. */
  givenBack(message: ConsumeMessage, from: WaitsFor): void {
    this.#left(message, from);
    this.#tracker.givenBack(message.fields.deliveryTag);
    try {
      this.#channel.nack(message, false, true);
    } catch {
      // As below: the broker takes it back anyway.
    }
  }

  #left(message: ConsumeMessage, from: WaitsFor): void {
    this.#memory.free(message, from);
    if (!this.#counts(message, from)) return;
    this.#crowd--;
    this.#leastCrowd = Math.min(this.#leastCrowd, this.#crowd);
  }

  /** Whether a delivery that waits for this is one of the crowd. */
  #counts({ fields: { deliveryTag } }: ConsumeMessage, waitsFor: WaitsFor): boolean {
    return deliveryTag > this.#asideUpTo && waitsFor !== 'forward';
  }

  flush(): void {
    this.#flushScheduled = false;
    if (!this.#tracker.needsFlush) return;
    try {
      for (const { deliveryTag, multiple } of this.#tracker.flush()) {
        this.#channel.ack({ fields: { deliveryTag } } as ConsumeMessage, multiple);
      }
    } catch {
      // amqplib throws on a channel that is closed: the broker will deliver these again.
    }
  }
}
