import type { ConsumeMessage } from 'amqplib';
import type { Reply, ReplyOutcome, UndeliveredReason } from '../reply.ts';
import type { ConsumerSession } from './consumer-session.ts';
import { type ParsedReply, parseReplyHeaders } from './envelope.ts';
import { detachHeaders, headerBytes } from './header-bytes.ts';
import type { WaitsFor } from './reply-memory.ts';

/** Who records the fate of a reply that did not reach its device. */
export interface UndeliveredSink {
  record(delivery: Delivery, reason: UndeliveredReason, detail: string | undefined): void;
}

/** Told once for each delivery. */
export interface SettledObserver {
  replySettled(outcome: ReplyOutcome | 'forwarded'): void;
  /** The backend asked for a receipt, and this is the outcome. */
  receiptDue(delivery: Delivery, outcome: ReplyOutcome, detail: string | undefined): void;
}

/**
 * A reply as it came from the broker, from its basic.deliver to its basic.ack. The ack is sent once the reply is
 * with the device's kernel socket, confirmed in another node's inbox, or confirmed in the undelivered queue.
 */
export class Delivery implements Reply {
  readonly message: ConsumeMessage;
  readonly parsed: ParsedReply;
  readonly heldBytes: number;
  readonly #session: ConsumerSession;
  readonly #undelivered: UndeliveredSink;
  readonly #observer: SettledObserver;
  #detached = false;
  #waitsFor: WaitsFor = 'device';

  constructor(
    message: ConsumeMessage,
    session: ConsumerSession,
    undelivered: UndeliveredSink,
    observer: SettledObserver,
  ) {
    this.message = message;
    this.parsed = parseReplyHeaders(message.properties.headers);
    this.heldBytes = message.content.length + headerBytes(message.properties.headers);
    this.#session = session;
    this.#undelivered = undelivered;
    this.#observer = observer;
  }

  get body(): Buffer {
    return this.message.content;
  }

  get byteLength(): number {
    return this.message.content.length;
  }

  get toDeviceSeq(): number | undefined {
    return this.parsed.ok ? this.parsed.headers.toDeviceSeq : undefined;
  }

  get expiresAtMs(): number | undefined {
    return this.parsed.ok ? this.parsed.headers.expiresAtMs : undefined;
  }

  detach(): void {
    if (this.#detached) return;
    this.#detached = true;
    this.message.content = Buffer.from(this.message.content);
    detachHeaders(this.message.properties.headers);
  }

  settle(outcome: ReplyOutcome, detail?: string): void {
    this.#observer.replySettled(outcome);
    // A duplicate is the same reply once more: its receipt went out with the first copy.
    if (this.parsed.ok && this.parsed.headers.receipt && outcome !== 'duplicate') {
      this.#observer.receiptDue(this, outcome, detail);
    }
    if (outcome === 'delivered' || outcome === 'duplicate') this.acknowledge();
    else {
      this.#waitFor('undelivered');
      this.#undelivered.record(this, outcome, detail);
    }
  }

  /** It is another node's, and no device of this one holds it up. */
  forwarding(): void {
    this.#waitFor('forward');
  }

  #waitFor(what: WaitsFor): void {
    if (what === this.#waitsFor) return;
    this.#session.moved(this.message, this.#waitsFor, what);
    this.#waitsFor = what;
  }

  /** Another node has it. */
  forwarded(): void {
    this.#observer.replySettled('forwarded');
    this.acknowledge();
  }

  /** How often it was given back, as far as the broker counts that (in quorum queues, up to the delivery limit). */
  get timesGivenBack(): number {
    const count: unknown = this.message.properties.headers?.['x-delivery-count'];
    return typeof count === 'number' ? count : 0;
  }

  /** Leaves it to whoever takes it next from its queue. */
  giveBack(): void {
    this.#session.givenBack(this.message, this.#waitsFor);
  }

  acknowledge(): void {
    this.#session.settled(this.message, this.#waitsFor);
  }
}
