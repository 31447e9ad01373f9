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
 */
interface Forward {
  readonly delivery: Delivery;
  readonly owner: string;
  readonly id: number;
  readonly giveUpAtMs: number;
  returned: boolean;
}

const RETRY_MS = 250;
const REMEMBER_MISSING_MS = 60_000;
const MAX_MISSING = 1_024;

export class Forwarder {
  readonly #publisher: ConfirmedPublisher<Forward>;
  readonly #graceMs: number;
  readonly #underWay = new Map<number, Forward>();
  /** Owners without an inbox → monotonic time until which that is believed. */
  readonly #missing = new Map<string, number>();
  #retryLater: Forward[] = [];
  #retryTimer: NodeJS.Timeout | undefined;
  #nextId = 0;

  constructor(link: BrokerLink, inboxPrefix: string, graceMs: number, backoff: Backoff, log: Logger) {
    this.#graceMs = graceMs;
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
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#publisher.isUp;
  }

  forward(delivery: Delivery, owner: string): void {
    delivery.detach();
    const now = performance.now();
    const graceMs = (this.#missing.get(owner) ?? 0) > now ? 0 : this.#graceMs;
    this.#send({ delivery, owner, id: this.#nextId++, giveUpAtMs: now + graceMs, returned: false });
  }

  idle(): Promise<void> {
    return this.#publisher.idle();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#retryTimer);
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
      forward.delivery.forwarded();
      return;
    }
    const now = performance.now();
    if (now < forward.giveUpAtMs) {
      this.#retryLater.push(forward);
      this.#retryTimer ??= setTimeout(() => this.#retry(), RETRY_MS);
      return;
    }
    this.#rememberMissing(forward.owner, now);
    forward.delivery.settle('not_connected', `node ${forward.owner} has no inbox: it is gone`);
  }

  #retry(): void {
    this.#retryTimer = undefined;
    for (const forward of this.#retryLater.splice(0)) this.#send(forward);
  }

  #rememberMissing(owner: string, now: number): void {
    if (this.#missing.size >= MAX_MISSING) this.#missing.delete(this.#missing.keys().next().value!);
    this.#missing.set(owner, now + REMEMBER_MISSING_MS);
  }
}
