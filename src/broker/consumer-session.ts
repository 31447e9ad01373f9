import type { Channel, ConsumeMessage } from 'amqplib';
import { AckTracker } from './ack-tracker.ts';
import type { ReplyMemory } from './reply-memory.ts';

/** What a delivery that is not settled waits for: a device, the undelivered queue, or another node's inbox. */
export type WaitsFor = 'device' | 'undelivered' | 'forward';

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
  /** Those after it. */
  readonly #waiting = { device: 0, undelivered: 0, forward: 0 };
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

  /** Deliveries that devices hold, but for those that were set aside. */
  get held(): number {
    return this.#waiting.device;
  }

  /** Those held and those that wait to be recorded as undelivered: what can last. Forwards end soon, or are given back. */
  get crowd(): number {
    return this.#waiting.device + this.#waiting.undelivered;
  }

  /** The smallest crowd since the last call; a prefetch that turns over falls low now and then. */
  takeLeastCrowd(): number {
    const least = this.#leastCrowd;
    this.#leastCrowd = this.crowd;
    return least;
  }

  /** Those that came so far do not count from now on. */
  setAside(): void {
    this.#asideUpTo = this.#lastTag;
    Object.assign(this.#waiting, { device: 0, undelivered: 0, forward: 0 });
    this.#leastCrowd = 0;
  }

  delivered(message: ConsumeMessage): void {
    this.#lastTag = message.fields.deliveryTag;
    this.#tracker.delivered(this.#lastTag);
    this.#memory.take(message);
    this.#waiting.device++;
  }

  moved(message: ConsumeMessage, from: WaitsFor, to: WaitsFor): void {
    if (message.fields.deliveryTag <= this.#asideUpTo) return;
    this.#waiting[to]++;
    this.#left(message, from);
  }

  /** Acknowledges the delivery at the end of this turn, together with others. */
  settled(message: ConsumeMessage, from: WaitsFor = 'device'): void {
    this.#left(message, from);
    this.#memory.free(message);
    this.#tracker.settled(message.fields.deliveryTag);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => this.flush());
  }

  /** Returns the delivery to its queue, for any consumer to take. */
  givenBack(message: ConsumeMessage, from: WaitsFor): void {
    this.#left(message, from);
    this.#memory.free(message);
    this.#tracker.givenBack(message.fields.deliveryTag);
    try {
      this.#channel.nack(message, false, true);
    } catch {
      // As below: the broker takes it back anyway.
    }
  }

  #left(message: ConsumeMessage, from: WaitsFor): void {
    if (message.fields.deliveryTag <= this.#asideUpTo) return;
    this.#waiting[from]--;
    this.#leastCrowd = Math.min(this.#leastCrowd, this.crowd);
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
