import { type ChannelModel, type ConfirmChannel, IllegalOperationError, type Message } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import { BrokerError, messageOf } from './broker-error.ts';
import type { BrokerLink } from './broker-link.ts';
import { ChannelKeeper, type ChannelUser } from './channel-keeper.ts';
import { PublishWindow } from './publish-window.ts';

/**
 * Publishes entries in order and keeps each until the broker has confirmed it.
 *
 * There is one way to recover, whatever went wrong (connection lost, channel closed, message refused or
 * returned): the channel is given up, a new one is opened after a backoff, the topology is declared again, and
 * everything unconfirmed is published again, oldest first, before anything newer. Only what is larger than the
 * broker takes is left out, where somebody can be told of it.
 */
export interface PublisherOptions<T> {
  readonly name: string;
  /** Declares what the entries are routed to; runs each time a channel is opened. */
  prepare(model: ChannelModel): Promise<void>;
  /**
   * Where order counts: the queue of an entry. The first for a queue on a channel travels alone: it is what a quorum
   * queue without a leader refuses, and what came behind it might be taken.
   */
  queueOf?(entry: T): string;
  /**
   * Where a burst is not urgent: how many bytes may be sent and not confirmed. All queues of a broker node share one
   * log and its fsync, so that everybody's messages would wait behind the burst.
   */
  readonly pace?: { maxBytes(): number };
  /** Body bytes of an entry; wanted for `pace` and `refused`. */
  bytesOf?(entry: T): number;
  /**
   * Where an entry may be larger than the broker takes (its `max_message_size`): takes it back for good. Without that,
   * all behind it would wait for ever.
   */
  refused?(entry: T, maxBytes: number): void;
  /**
   * Where order does not count: a queue has refused the entry (basic.nack). Takes it back; it may be pushed again after
   * a pause. The others on the channel are not sent again. Without this, a refusal is a failure of the channel.
   */
  nacked?(entry: T): void;
  /** Calls `channel.publish` once and returns what it returned. `queue` is what `queueOf` said. */
  send(channel: ConfirmChannel, entry: T, republished: boolean, queue?: string): boolean;
  /** Called once for each entry, when the broker has taken responsibility. */
  confirmed(entry: T): void;
  /**
   * A message that no queue took came back; its confirm follows. Return true when it was dealt with; otherwise
   * it counts as a failure of the channel.
   */
  returned?(message: Message): boolean;
}

/** The fields of basic.ack and basic.nack. */
interface Confirm {
  readonly deliveryTag: number;
  readonly multiple: boolean;
}

/**
 * A channel whose oldest message is not confirmed for one to two of these has failed: a quorum queue that changes its
 * leader can leave it waiting for ever.
 */
const PROGRESS_CHECK_MS = 10_000;
/** At most so often a channel is replaced because a queue refused something. */
const RENEW_AFTER_MS = 500;
/** For how long confirms are waited for before that. */
const RENEW_DRAIN_MS = 2_000;

export class ConfirmedPublisher<T> {
  readonly #options: PublisherOptions<T>;
  readonly #link: BrokerLink;
  readonly #log: Logger;
  readonly #keeper: ChannelKeeper<ConfirmChannel>;
  readonly #window = new PublishWindow<T>();
  #channel: ConfirmChannel | null = null;
  /** amqplib's write buffer is full; it will say `drain`, or the channel will be lost. */
  #draining = false;
  /** Sent on this channel. */
  #unconfirmedBytes = 0;
  /** What the broker takes at most, as far as it has said so. */
  #maxBytes = Number.POSITIVE_INFINITY;
  /** Queues that have taken an entry of this channel. */
  readonly #openQueues = new Set<string>();
  /** The queue of the entry that travels alone. */
  #openingQueue: string | undefined;
  /** A channel on which a queue has refused something is to be replaced. */
  #renewTimer: NodeJS.Timeout | undefined;
  /** Nothing more is sent on it, so that all on it is confirmed before. */
  #isRenewing = false;
  #idleWaiters: (() => void)[] = [];
  #oldestAtCheck: T | undefined;
  #progressCheck: NodeJS.Timeout | undefined;

  constructor(link: BrokerLink, options: PublisherOptions<T>, backoff: Backoff, log: Logger) {
    this.#link = link;
    this.#log = log;
    this.#options = options;
    const user: ChannelUser<ConfirmChannel> = {
      name: options.name,
      open: (model) => model.createConfirmChannel(),
      setUp: (channel, model) => this.#setUp(channel, model),
      lost: () => {
        this.#channel = null;
        clearInterval(this.#progressCheck);
        this.#stopRenewing();
      },
    };
    this.#keeper = new ChannelKeeper(link, user, backoff, log);
    link.listen({
      blockedChanged: () => this.#pump(),
      // Another broker may take more.
      lost: () => {
        this.#maxBytes = Number.POSITIVE_INFINITY;
      },
    });
  }

  /** The channel is up and the broker takes messages on it. */
  get isUp(): boolean {
    return this.#keeper.isUp && !this.#link.isBlocked;
  }

  /** Entries that are not confirmed. */
  get size(): number {
    return this.#window.size;
  }

  /** Takes the entry for good. The caller bounds how many there are. */
  push(entry: T): void {
    if (this.#isTooLarge(entry)) {
      this.#options.refused?.(entry, this.#maxBytes);
      return;
    }
    this.#window.push(entry);
    this.#pump();
  }

  /** Resolves when nothing is unconfirmed. Bounded by the caller: a broker may be gone for long. */
  async idle(): Promise<void> {
    if (this.#window.size === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  async stop(): Promise<void> {
    await this.#keeper.stop();
  }

  async #setUp(channel: ConfirmChannel, model: ChannelModel): Promise<void> {
    let closed = false;
    channel.once('close', () => {
      closed = true;
    });
    await this.#options.prepare(model);
    if (closed) throw new BrokerError('channel_closed', 'channel closed while it was set up');
    const { confirmed, nacked } = this.#options;
    channel.on('ack', (ack) => this.#settled(channel, ack, confirmed));
    channel.on('error', (error) => this.#noteSizeLimit(error));
    channel.on('nack', (nack) => {
      if (nacked === undefined) this.#fail(channel, 'broker refused a message (basic.nack)');
      else {
        this.#settled(channel, nack, nacked);
        this.#renewSoon(channel);
      }
    });
    channel.on('return', (message) => this.#returned(channel, message));
    channel.on('drain', () => {
      if (channel !== this.#channel) return;
      this.#draining = false;
      this.#pump();
    });
    clearInterval(this.#progressCheck);
    const refused = this.#rewind();
    this.#draining = false;
    this.#unconfirmedBytes = 0;
    this.#openQueues.clear();
    this.#openingQueue = undefined;
    this.#channel = channel;
    this.#oldestAtCheck = undefined;
    this.#progressCheck = setInterval(() => this.#checkProgress(channel), PROGRESS_CHECK_MS).unref();
    for (const entry of refused) this.#options.refused?.(entry, this.#maxBytes);
    this.#idleMayBeOver();
    this.#pump();
  }

  /** Returns what the broker does not take, oldest first. */
  #rewind(): T[] {
    const refused: T[] = [];
    this.#window.rewind((entry) => {
      const isTooLarge = this.#isTooLarge(entry);
      if (isTooLarge) refused.push(entry);
      return isTooLarge;
    });
    return refused.reverse();
  }

  #isTooLarge(entry: T): boolean {
    return this.#bytesOf(entry) > this.#maxBytes;
  }

  #bytesOf(entry: T): number {
    return this.#options.bytesOf?.(entry) ?? 0;
  }

  /** The broker closes the channel for a message that is too large, and does not say which one it was. */
  #noteSizeLimit(error: Error): void {
    const said = /message size \d+ is larger than (?:configured )?max size (\d+)/.exec(error.message);
    if (said === null || this.#options.refused === undefined) return;
    this.#maxBytes = Number(said[1]);
    this.#log.error(
      { maxBytes: this.#maxBytes },
      'the broker takes no larger messages (its max_message_size): frames that are larger are refused; listen.maxFrameBytes should not allow them',
    );
  }

  #checkProgress(channel: ConfirmChannel): void {
    const oldest = this.#link.isBlocked ? undefined : this.#window.oldestSent;
    if (oldest !== undefined && oldest === this.#oldestAtCheck)
      this.#fail(channel, `a message was not confirmed within ${PROGRESS_CHECK_MS} ms`);
    this.#oldestAtCheck = oldest;
  }

  #pump(): void {
    const { pace } = this.#options;
    while (this.#channel !== null && !this.#draining && !this.#isRenewing && !this.#link.isBlocked) {
      if (pace !== undefined && this.#unconfirmedBytes >= pace.maxBytes()) return;
      const entry = this.#window.peekUnsent();
      if (entry === undefined) return;
      const queue = this.#options.queueOf?.(entry);
      if (queue !== undefined && !this.#mayLeave(queue)) return;
      const isResend = this.#window.isResend;
      try {
        this.#draining = !this.#options.send(this.#channel, entry, isResend, queue);
        this.#window.sent();
        this.#unconfirmedBytes += this.#bytesOf(entry);
      } catch (error) {
        // Either the channel closed under us; then the entry is sent on the next one. Or the client cannot encode
        // the entry, now or ever: trying again would hold up all behind it. What it stands for is not acknowledged.
        if (!(error instanceof IllegalOperationError)) {
          this.#log.error({ reason: messageOf(error) }, 'a message that cannot be encoded is left out');
          this.#window.dropUnsent();
        }
        this.#fail(this.#channel, messageOf(error));
      }
    }
  }

  #mayLeave(queue: string): boolean {
    if (this.#openingQueue !== undefined) return false;
    if (this.#openQueues.has(queue)) return true;
    if (this.#window.oldestSent !== undefined) return false;
    this.#openingQueue = queue;
    return true;
  }

  #settled(channel: ConfirmChannel, { deliveryTag, multiple }: Confirm, settle: (entry: T) => void): void {
    if (channel !== this.#channel) return;
    this.#window.confirm(deliveryTag, multiple, (entry) => {
      this.#unconfirmedBytes -= this.#bytesOf(entry);
      settle(entry);
    });
    if (this.#window.oldestSent === undefined) {
      if (this.#isRenewing) void this.#renew();
      if (this.#openingQueue !== undefined) this.#openQueues.add(this.#openingQueue);
      this.#openingQueue = undefined;
    }
    if (this.#window.hasUnsent) this.#pump();
    this.#idleMayBeOver();
  }

  /**
   * A queue that has refused once may refuse all that comes on this channel, whatever becomes of its leader (decision
   * 003). The others are not to suffer: the channel is replaced when all on it is confirmed, and once in a while.
   */
  #renewSoon(channel: ConfirmChannel): void {
    if (channel !== this.#channel || this.#isRenewing) return;
    this.#renewTimer ??= setTimeout(() => {
      this.#isRenewing = true;
      // What is not confirmed by then would be sent twice. A channel on which nothing is confirmed has failed anyway.
      this.#renewTimer = setTimeout(() => {
        this.#stopRenewing();
        this.#pump();
        this.#renewSoon(channel);
      }, RENEW_DRAIN_MS);
      if (this.#window.oldestSent === undefined) void this.#renew();
    }, RENEW_AFTER_MS);
  }

  async #renew(): Promise<void> {
    // Once.
    if (this.#renewTimer === undefined) return;
    clearTimeout(this.#renewTimer);
    this.#renewTimer = undefined;
    await this.#keeper.replace();
    this.#isRenewing = false;
    this.#pump();
  }

  #stopRenewing(): void {
    clearTimeout(this.#renewTimer);
    this.#renewTimer = undefined;
    this.#isRenewing = false;
  }

  #idleMayBeOver(): void {
    if (this.#window.size > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #returned(channel: ConfirmChannel, message: Message): void {
    if (channel !== this.#channel || this.#options.returned?.(message)) return;
    // The confirm of a returned message follows its return: giving the channel up now leaves it unconfirmed.
    const { routingKey, replyText } = message.fields as unknown as { routingKey: string; replyText: string };
    this.#fail(channel, `message for ${routingKey} came back (${replyText}): was the queue deleted?`);
  }

  #fail(channel: ConfirmChannel, reason: string): void {
    if (channel !== this.#channel) return;
    this.#channel = null;
    this.#keeper.reset(reason);
  }
}
