import type { Message } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import type { BrokerLink } from './broker-link.ts';
import { ConfirmedPublisher } from './confirmed-publisher.ts';
import type { Delivery } from './delivery.ts';
import { FORWARD_ID_HEADER, int64, resendableHeaders, resendableProperties } from './envelope.ts';

/**
 * Hands replies for another node's connections to that node's inbox, and acknowledges the original once the
 * broker has confirmed the copy.
 *
 * A forward that comes back (no such inbox) is offered again for a grace period, because an inbox may be gone
 * only while its queue is declared anew; then the reply is undelivered as not_connected. An owner found missing
 * that way is remembered for a while, so that the replies of a whole lost node do not fill the prefetch.
 *
 * One that an inbox refuses (it is full, or has no leader) is offered again for longer, and has the same fate.
 *
 * While nothing can be published (an alarm of the broker, say), replies go back to their queue after a moment, until
 * their owner takes them itself: kept, they would fill the prefetch that this node's own replies come through.
 */
export interface ForwarderOptions {
  /** How long a forward without an inbox is offered again; to an inbox that refuses it, twelve times as long. */
  readonly graceMs: number;
  /** How many may wait for an inbox that refuses them; they take up a part of the prefetch meanwhile. */
  readonly maxRefused: number;
  /** Below the delivery limit, past which a queue would drop the reply. */
  readonly maxGiveBacks: number;
  /** The broker is known to take nothing. It tells a connection only in answer to what that publishes. */
  isAlarmed(): boolean;
  /** Replies are about to go back to their queue, which is not to hand them to this node again at once. */
  givingBack(): void;
}

interface Forward {
  readonly delivery: Delivery;
  readonly owner: string;
  readonly id: number;
  readonly sinceMs: number;
  readonly graceMs: number;
  returned: boolean;
}

const RETRY_MS = 250;
/** Times the grace: a queue that looks for a leader refuses for seconds, one that does so for a minute is full. */
const NACK_PATIENCE = 12;
const NACK_RETRY_MS = 1_000;
/** How long a reply that cannot be forwarded is kept: long enough not to keep the broker busy with it. */
const GIVE_BACK_MS = 500;
const REMEMBER_MISSING_MS = 60_000;
const MAX_MISSING = 1_024;

export class Forwarder {
  readonly #publisher: ConfirmedPublisher<Forward>;
  readonly #graceMs: number;
  readonly #maxRefused: number;
  readonly #maxGiveBacks: number;
  readonly #isAlarmed: () => boolean;
  readonly #givingBack: () => void;
  readonly #underWay = new Map<number, Forward>();
  /** Owners without an inbox, or with one that refuses everything → monotonic time until which that is believed. */
  readonly #missing = new Map<string, number>();
  /** What is offered again, by the pause before that. */
  readonly #retries = new Map<number, Forward[]>();
  #stopped = false;
  /** Replies that came while nothing could be published. */
  #kept: { delivery: Delivery; owner: string }[] = [];
  #keptTimer: NodeJS.Timeout | undefined;
  #nextId = 0;

  constructor(
    link: BrokerLink,
    inboxPrefix: string,
    { graceMs, maxRefused, maxGiveBacks, isAlarmed, givingBack }: ForwarderOptions,
    backoff: Backoff,
    log: Logger,
  ) {
    this.#graceMs = graceMs;
    this.#maxRefused = maxRefused;
    this.#maxGiveBacks = maxGiveBacks;
    this.#isAlarmed = isAlarmed;
    this.#givingBack = givingBack;
    this.#publisher = new ConfirmedPublisher<Forward>(
      link,
      {
        name: 'forwarder',
        prepare: async () => {},
        send: (channel, forward) => {
          forward.returned = false;
          const { delivery, owner, id } = forward;
          return channel.publish('', inboxPrefix + owner, delivery.message.content, {
            ...resendableProperties(delivery.message),
            headers: {
              ...resendableHeaders(delivery.message.properties.headers),
              [FORWARD_ID_HEADER]: int64(id),
            },
          });
        },
        returned: (message) => this.#returned(message),
        confirmed: (forward) => this.#confirmed(forward),
        nacked: (forward) => this.#nacked(forward),
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#publisher.isUp;
  }

  /** A reply for another node can be handed on now. */
  get takes(): boolean {
    return this.isUp && !this.#isAlarmed();
  }

  forward(delivery: Delivery, owner: string): void {
    delivery.forwarding();
    if (!this.takes && delivery.timesGivenBack < this.#maxGiveBacks) {
      this.#kept.push({ delivery, owner });
      this.#keptTimer ??= setTimeout(() => this.#giveBack(), GIVE_BACK_MS);
      return;
    }
    delivery.detach();
    const now = performance.now();
    const graceMs = (this.#missing.get(owner) ?? 0) > now ? 0 : this.#graceMs;
    this.#send({ delivery, owner, id: this.#nextId++, sinceMs: now, graceMs, returned: false });
  }

  idle(): Promise<void> {
    return this.#publisher.idle();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#keptTimer);
    await this.#publisher.stop();
  }

  #send(forward: Forward): void {
    this.#underWay.set(forward.id, forward);
    this.#publisher.push(forward);
  }

  #returned(message: Message): boolean {
    const forward = this.#underWay.get(message.properties.headers?.[FORWARD_ID_HEADER]);
    if (forward !== undefined) forward.returned = true;
    return true;
  }

  #confirmed(forward: Forward): void {
    this.#underWay.delete(forward.id);
    if (!forward.returned) {
      this.#missing.delete(forward.owner);
      forward.delivery.forwarded();
      return;
    }
    const detail = `node ${forward.owner} has no inbox: it is gone`;
    this.#retryOrGiveUp(forward, RETRY_MS, forward.graceMs, detail);
  }

  #nacked(forward: Forward): void {
    this.#underWay.delete(forward.id);
    const detail = `the inbox of node ${forward.owner} refuses messages: it is full, or has no leader`;
    const hasRoom = (this.#retries.get(NACK_RETRY_MS)?.length ?? 0) < this.#maxRefused;
    this.#retryOrGiveUp(forward, NACK_RETRY_MS, hasRoom ? forward.graceMs * NACK_PATIENCE : 0, detail);
  }

  #retryOrGiveUp(forward: Forward, pauseMs: number, patienceMs: number, detail: string): void {
    const now = performance.now();
    if (now - forward.sinceMs >= patienceMs) {
      this.#rememberMissing(forward.owner, now);
      forward.delivery.settle('not_connected', detail);
      return;
    }
    const waiting = this.#retries.get(pauseMs);
    if (waiting !== undefined) {
      waiting.push(forward);
      return;
    }
    this.#retries.set(pauseMs, [forward]);
    setTimeout(() => this.#retry(pauseMs), pauseMs).unref();
  }

  #retry(pauseMs: number): void {
    const forwards = this.#retries.get(pauseMs) ?? [];
    this.#retries.delete(pauseMs);
    if (this.#stopped) return;
    for (const forward of forwards) this.#send(forward);
  }

  #giveBack(): void {
    this.#keptTimer = undefined;
    if (!this.takes) this.#givingBack();
    for (const { delivery, owner } of this.#kept.splice(0)) {
      if (this.takes) this.forward(delivery, owner);
      else delivery.giveBack();
    }
  }

  #rememberMissing(owner: string, now: number): void {
    if (this.#missing.size >= MAX_MISSING) this.#missing.delete(this.#missing.keys().next().value!);
    this.#missing.set(owner, now + REMEMBER_MISSING_MS);
  }
}
