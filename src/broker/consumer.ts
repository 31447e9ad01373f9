import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import { AckTracker } from './ack-tracker.ts';
import type { BrokerLink } from './broker-link.ts';
import { ChannelKeeper } from './channel-keeper.ts';

/**
 * One consumer on a channel of its own. Comes back after a cancel, a channel close or a reconnect; what was not
 * acknowledged by then the broker delivers again.
 */
export interface ConsumerOptions {
  readonly name: string;
  readonly queue: string;
  /** Declares the queue; runs each time a channel is opened. */
  prepare(model: ChannelModel): Promise<void>;
  readonly prefetch: number;
  received(message: ConsumeMessage, session: ConsumerSession): void;
}

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #keeper: ChannelKeeper<Channel>;
  #session: ConsumerSession | null = null;
  #consumerTag: string | undefined;

  constructor(link: BrokerLink, options: ConsumerOptions, backoff: Backoff, log: Logger) {
    this.#options = options;
    this.#keeper = new ChannelKeeper<Channel>(
      link,
      {
        name: options.name,
        open: (model) => model.createChannel(),
        setUp: (channel, model) => this.#setUp(channel, model),
        lost: () => {
          this.#session = null;
          this.#consumerTag = undefined;
        },
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#keeper.isUp;
  }

  /** The fewest open deliveries since the last call; a prefetch that turns over falls low now and then. */
  takeLeastOpen(): number {
    return this.#session?.takeLeastOpen() ?? 0;
  }

  /** Takes no more deliveries; those received can still be settled. */
  async cancel(): Promise<void> {
    const channel = this.#session?.channel;
    if (channel === undefined || this.#consumerTag === undefined) return;
    // A channel that closes meanwhile has cancelled its consumer too.
    await channel.cancel(this.#consumerTag).catch(() => {});
  }

  /** Sends the acks that are due and closes the channel for good. */
  async stop(): Promise<void> {
    this.#session?.flush();
    await this.#keeper.stop();
  }

  async #setUp(channel: Channel, model: ChannelModel): Promise<void> {
    const { queue, prefetch, prepare } = this.#options;
    await prepare(model);
    await channel.prefetch(prefetch);
    const session = new ConsumerSession(channel);
    this.#session = session;
    const { consumerTag } = await channel.consume(queue, (message) => {
      if (message === null) {
        this.#keeper.reset(
          `the broker cancelled the consumer of ${queue} (basic.cancel): was the queue deleted?`,
        );
        return;
      }
      session.delivered(message.fields.deliveryTag);
      this.#options.received(message, session);
    });
    this.#consumerTag = consumerTag;
  }
}

/**
 * The deliveries of one channel. Delivery tags mean something on their own channel only, so a delivery keeps the
 * session it came in: settling one whose channel is gone does nothing, and the broker delivers it again.
 */
export class ConsumerSession {
  readonly channel: Channel;
  readonly #tracker = new AckTracker();
  #leastOpen = 0;
  #flushScheduled = false;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  takeLeastOpen(): number {
    const least = this.#leastOpen;
    this.#leastOpen = this.#tracker.openCount;
    return least;
  }

  delivered(deliveryTag: number): void {
    this.#tracker.delivered(deliveryTag);
  }

  /** Acknowledges the delivery at the end of this turn, together with others. */
  settled(deliveryTag: number): void {
    this.#tracker.settled(deliveryTag);
    this.#leastOpen = Math.min(this.#leastOpen, this.#tracker.openCount);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => this.flush());
  }

  /** Returns the delivery to its queue, for any consumer to take. */
  givenBack(deliveryTag: number): void {
    this.#tracker.givenBack(deliveryTag);
    try {
      this.channel.nack({ fields: { deliveryTag } } as ConsumeMessage, false, true);
    } catch {
      // As below: the broker takes it back anyway.
    }
  }

  flush(): void {
    this.#flushScheduled = false;
    if (!this.#tracker.needsFlush) return;
    try {
      for (const { deliveryTag, multiple } of this.#tracker.flush()) {
        this.channel.ack({ fields: { deliveryTag } } as ConsumeMessage, multiple);
      }
    } catch {
      // amqplib throws on a channel that is closed: the broker will deliver these again.
    }
  }
}
