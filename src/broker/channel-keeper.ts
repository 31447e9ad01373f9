import type { Channel, ChannelModel } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import { BrokerError, messageOf } from './broker-error.ts';
import type { BrokerLink } from './broker-link.ts';

/**
 * Keeps one channel open on a link: opens it when the link connects, and again, after a backoff, when the broker
 * or its user closes it. A channel that fails takes no other channel of the connection with it.
 */
export interface ChannelUser<C extends Channel> {
  /** For logs. */
  readonly name: string;
  open(model: ChannelModel): Promise<C>;
  /**
   * Declares and subscribes; the channel counts as up when this has resolved.
   * @param replaces the channel takes the place of one that is up
   */
  setUp(channel: C, model: ChannelModel, replaces: boolean): Promise<void>;
  /** The channel of the last `setUp` that was begun is gone, and with it every delivery tag. */
  lost(): void;
}

const STEADY_MS = 10_000;
/** Takes milliseconds; without a leader, queues may take RabbitMQ a minute. */
const SET_UP_TIMEOUT_MS = 120_000;

export class ChannelKeeper<C extends Channel> {
  readonly #user: ChannelUser<C>;
  readonly #link: BrokerLink;
  readonly #backoff: Backoff;
  readonly #log: Logger;
  #channel: C | null = null;
  #isUp = false;
  #upSinceMs = 0;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(link: BrokerLink, user: ChannelUser<C>, backoff: Backoff, log: Logger) {
    this.#link = link;
    this.#user = user;
    this.#backoff = backoff;
    this.#log = log.child({ link: link.name, channel: user.name });
    link.listen({
      connected: (model) => void this.#open(model),
      lost: () => this.#drop(),
    });
    if (link.model !== null) void this.#open(link.model);
  }

  /** The channel is open and set up. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Gives the channel up and opens a new one after the backoff. */
  reset(reason: string): void {
    const channel = this.#channel;
    if (channel === null) return;
    this.#lose(channel, reason);
    // A channel that is closing already says so; either way it is gone.
    channel.close().catch(() => {});
  }

  /** Sets a new channel up and then closes the one in use. It counts as up throughout, unless the new one fails. */
  async replace(): Promise<void> {
    const [channel, model] = [this.#channel, this.#link.model];
    if (!this.#isUp || channel === null || model === null) return;
    this.#log.debug('replacing broker channel');
    await this.#open(model, channel);
    channel.close().catch(() => {});
  }

  /** Closes the channel for good. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const channel = this.#channel;
    this.#drop();
    await channel?.close().catch(() => {});
  }

  async #open(model: ChannelModel, inPlaceOf: C | null = null): Promise<void> {
    if (this.#stopped) return;
    let channel: C | undefined;
    const noAnswer = `channel ${this.#user.name} was not set up within ${SET_UP_TIMEOUT_MS} ms`;
    const look = setInterval(() => {
      // One that is blocked answers once it reads again.
      if (!this.#link.isBlocked) this.#link.giveUp(model, noAnswer);
    }, SET_UP_TIMEOUT_MS);
    try {
      const opened = await this.#user.open(model);
      channel = opened;
      if (this.#link.model !== model) return;
      if (this.#stopped || this.#channel !== inPlaceOf) return void (await opened.close());
      this.#channel = opened;
      opened.on('error', (error) => this.#lose(opened, messageOf(error)));
      opened.on('close', () => this.#lose(opened, 'channel closed'));
      await this.#user.setUp(opened, model, inPlaceOf !== null);
      if (this.#channel !== opened) return;
      if (!this.#isUp) this.#upSinceMs = performance.now();
      this.#isUp = true;
    } catch (error) {
      if (channel !== undefined && this.#channel === channel) {
        this.#lose(
          channel,
          messageOf(error),
          error instanceof BrokerError && error.code === 'topology_mismatch',
        );
        channel.close().catch(() => {});
      } else if (channel === undefined && this.#link.model === model) {
        if (inPlaceOf === null) this.#retryLater(messageOf(error));
        else this.#lose(inPlaceOf, messageOf(error));
      }
    } finally {
      clearInterval(look);
    }
  }

  #lose(channel: C, reason: string, mismatch = false): void {
    if (this.#channel !== channel) return;
    // One that is lost as soon as it is up must not be reopened at full speed.
    if (this.#isUp && performance.now() - this.#upSinceMs > STEADY_MS) this.#backoff.reset();
    this.#drop();
    // amqplib closes the channels before it says that their connection is gone; then the link will open them.
    setImmediate(() => this.#retryLater(reason, mismatch));
  }

  #drop(): void {
    clearTimeout(this.#retry);
    this.#isUp = false;
    if (this.#channel === null) return;
    this.#channel = null;
    this.#user.lost();
  }

  #retryLater(reason: string, mismatch = false): void {
    const model = this.#link.model;
    // With the link gone, its return opens the channel.
    if (this.#stopped || model === null || this.#channel !== null) return;
    clearTimeout(this.#retry);
    const waitMs = this.#backoff.nextMs();
    // A mismatch is said once by the topology, for all channels that it keeps from being set up.
    const level = mismatch ? 'debug' : 'warn';
    this.#log[level]({ reason, retryInMs: Math.round(waitMs) }, 'broker channel lost');
    this.#retry = setTimeout(() => {
      if (this.#link.model === model) void this.#open(model);
    }, waitMs);
  }
}
