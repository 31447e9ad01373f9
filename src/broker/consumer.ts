import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import type { BrokerLink } from './broker-link.ts';
import { ChannelKeeper } from './channel-keeper.ts';
import { ConsumerSession } from './consumer-session.ts';
import type { ReplyMemory } from './reply-memory.ts';

/**
 * One consumer on a channel of its own. Comes back after a cancel, a channel close or a reconnect; what was not
 * acknowledged by then the broker delivers again.
 *
 * What a slow device holds, or has left behind, may not use up the prefetch that everybody's replies come through.
 * When such deliveries have most of it for a moment, the consumer sets them aside: it cancels its subscription and
 * subscribes anew on the same channel, where the broker counts from nothing (RabbitMQ has a prefetch for each
 * consumer), and settles the old ones as they come. Once the memory for replies is full, devices have to let go.
 *
 * A delivery that is on its way at the cancel comes again: replies without a number may change places.
 *
 * A consumer to which nothing comes starts over on a new channel. RabbitMQ 3.10 can lose sight of one without a word:
 * when its quorum queue is deleted and at once declared again, it takes deliveries that the channel never sees, and
 * only the end of the channel gives them back.
 */
export interface ConsumerOptions {
  readonly name: string;
  readonly queue: string;
  /** Declares the queue; runs before the first channel is set up, and again after each that was lost. */
  prepare(model: ChannelModel): Promise<void>;
  readonly prefetch: number;
  /** With nothing delivered for so long, and nothing held, the consumer may start over. */
  readonly quietMs: number;
  /** Bounds what is set aside, for all consumers that have it. */
  readonly memory: ReplyMemory;
  received(message: ConsumeMessage, session: ConsumerSession): void;
  setAside(count: number): void;
}

/** Share of the prefetch. */
const CROWDED = 0.75;
/** For how long they must, since a burst is gone in less. */
const CROWDED_MS = 25;
/** How long a consumer that cannot set anything aside waits for devices to get on. */
const STUCK_MS = 250;
/** A renewal takes milliseconds, or a minute at a queue without a leader; a channel that takes longer is stuck. */
const RENEWAL_TIMEOUT_MS = 120_000;
const NEVER = Number.POSITIVE_INFINITY;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #maxCrowd: number;
  readonly #keeper: ChannelKeeper<Channel>;
  #session: ConsumerSession | null = null;
  #cancelled = false;
  /** The look that is due while the consumer is crowded. */
  #look: NodeJS.Timeout | undefined;
  #renewal: Promise<void> | null = null;
  #stuckSinceMs = NEVER;
  #heardAtMs = 0;

  constructor(link: BrokerLink, options: ConsumerOptions, backoff: Backoff, log: Logger) {
    this.#options = options;
    this.#maxCrowd = options.prefetch * CROWDED;
    this.#keeper = new ChannelKeeper<Channel>(
      link,
      {
        name: options.name,
        open: (model) => model.createChannel(),
        setUp: (channel, model, replaces) => this.#setUp(channel, model, replaces),
        lost: () => {
          this.#session = null;
          this.#renewal = null;
          this.#calm();
        },
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#keeper.isUp;
  }

  /** It can set nothing aside, and takes no replies for anybody. */
  get isStuck(): boolean {
    return performance.now() - this.#stuckSinceMs >= STUCK_MS;
  }

  /** Takes no more deliveries; those received can still be settled. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    this.#calm();
    await this.#renewal;
    // A channel that closes meanwhile has cancelled its consumer too.
    await this.#session?.cancel().catch(() => {});
  }

  /** Sends the acks that are due and closes the channel for good. */
  async stop(): Promise<void> {
    this.#session?.flush();
    await this.#keeper.stop();
  }

  async #setUp(channel: Channel, model: ChannelModel, replaces: boolean): Promise<void> {
    const { prefetch, prepare, memory } = this.#options;
    // If the queue is gone meanwhile, subscribing says so.
    if (!replaces) await prepare(model);
    await channel.prefetch(prefetch);
    const session = new ConsumerSession(channel, memory);
    this.#session = session;
    this.#heardAtMs = performance.now();
    await this.#subscribe(session);
  }

  async #subscribe(session: ConsumerSession): Promise<void> {
    if (this.#cancelled) return;
    const { queue, received } = this.#options;
    const onMessage = (message: ConsumeMessage | null) => {
      if (message === null) {
        this.#keeper.reset(
          `the broker cancelled the consumer of ${queue} (basic.cancel): was the queue deleted?`,
        );
        return;
      }
      this.#heardAtMs = performance.now();
      session.delivered(message);
      received(message, session);
      if (session.crowd >= this.#maxCrowd && this.#look === undefined && session === this.#session)
        this.#lookSoon(session);
    };
    await session.consume(queue, onMessage);
  }

  // ── when devices hold too much ───────────────────────────────────────────────────────────────────────────

  #lookSoon(session: ConsumerSession): void {
    if (this.#cancelled) return;
    session.takeLeastCrowd();
    this.#look = setTimeout(() => this.#crowded(session), CROWDED_MS);
  }

  #crowded(session: ConsumerSession): void {
    this.#look = undefined;
    const isCrowded = session.takeLeastCrowd() >= this.#maxCrowd;
    if (isCrowded && this.#options.memory.isFull)
      this.#stuckSinceMs = Math.min(this.#stuckSinceMs, performance.now());
    else {
      this.#stuckSinceMs = NEVER;
      if (isCrowded) this.#renew(() => this.#setAside(session));
    }
    if (session.crowd >= this.#maxCrowd) this.#lookSoon(session);
  }

  async #setAside(session: ConsumerSession, pauseMs = 0): Promise<void> {
    await session.cancel();
    this.#options.setAside(session.setAside());
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if (session === this.#session) await this.#subscribe(session);
  }

  /**
   * Takes nothing for a while, so that what is given back after this call goes to other nodes; what devices hold is set
   * aside. Both kinds of queue hand out first what has come back, to whoever has room: that is who gave it back.
   */
  giveWay(ms: number): void {
    const session = this.#session;
    if (session === null || this.#cancelled || !this.isUp || this.#options.memory.isFull) return;
    this.#renew(() => this.#setAside(session, ms));
  }

  // ── when nothing comes ───────────────────────────────────────────────────────────────────────────────────

  /**
   * To be called every few seconds, when the broker's queues are known to answer: to cancel at a quorum queue without a
   * leader takes RabbitMQ a minute and may end in the loss of the connection.
   */
  startOverIfQuiet(): void {
    const session = this.#session;
    if (session === null || this.#cancelled || !this.isUp) return;
    const isQuiet = performance.now() - this.#heardAtMs >= this.#options.quietMs;
    if (isQuiet && session.isEmpty) this.#renew(() => this.#startOver(session));
  }

  async #startOver(session: ConsumerSession): Promise<void> {
    const heardAtMs = this.#heardAtMs;
    await session.cancel();
    if (session !== this.#session) return;
    // What came before the cancel took effect shows that all is well, and needs its channel.
    if (this.#heardAtMs === heardAtMs) await this.#keeper.replace();
    else await this.#subscribe(session);
  }

  // ── all of them ──────────────────────────────────────────────────────────────────────────────────────────

  /** One renewal at a time. */
  #renew(renew: () => Promise<void>): void {
    if (this.#renewal !== null) return;
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        if (this.#renewal === renewal) this.#keeper.reset(`no answer within ${RENEWAL_TIMEOUT_MS} ms`);
        resolve();
      }, RENEWAL_TIMEOUT_MS);
    });
    // A channel that closes meanwhile is opened and subscribed again by its keeper.
    const renewed = renew().catch(() => {});
    const renewal = Promise.race([renewed, tooLate]).finally(() => {
      clearTimeout(timer);
      if (this.#renewal === renewal) this.#renewal = null;
    });
    this.#renewal = renewal;
  }

  #calm(): void {
    clearTimeout(this.#look);
    this.#look = undefined;
    this.#stuckSinceMs = NEVER;
  }
}
