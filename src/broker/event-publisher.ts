import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import type { BrokerLink } from './broker-link.ts';
import { ConfirmedPublisher } from './confirmed-publisher.ts';
import type { Topology } from './topology.ts';

/** An event of the `owsla.events` exchange; `event` is also its routing key. */
export interface GatewayEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

interface Entry {
  readonly event: GatewayEvent;
  refusals: number;
}

export interface EventObserver {
  eventPublished(): void;
  eventDropped(): void;
}

/**
 * Publishes lifecycle events. They tell of things, they are not the things: while the broker is away, only a
 * bounded number is kept and what comes after is dropped and counted. They leave some at a time: in a storm of
 * connections, waking the broker for each would be the dearest thing about them.
 */
export class EventPublisher {
  readonly #publisher: ConfirmedPublisher<Entry>;
  readonly #observer: EventObserver;
  #collected: Entry[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** What a queue has refused and is offered again. */
  #refused: Entry[] = [];
  #refusedTimer: NodeJS.Timeout | undefined;

  constructor(link: BrokerLink, topology: Topology, backoff: Backoff, observer: EventObserver, log: Logger) {
    this.#observer = observer;
    const exchange = topology.names.events;
    this.#publisher = new ConfirmedPublisher<Entry>(
      link,
      {
        name: 'events',
        prepare: (model) => topology.declare(model, 'events'),
        send: (channel, { event }) =>
          channel.publish(exchange, event.event, Buffer.from(JSON.stringify(event)), {
            contentType: 'application/json',
            persistent: true,
          }),
        confirmed: () => observer.eventPublished(),
        nacked: (entry) => this.#nacked(entry),
      },
      backoff,
      log,
    );
  }

  publish(event: GatewayEvent): void {
    if (this.#publisher.size + this.#collected.length + this.#refused.length >= MAX_KEPT) {
      this.#observer.eventDropped();
      return;
    }
    this.#collected.push({ event, refusals: 0 });
    this.#timer ??= setTimeout(() => this.#flush(), COLLECT_MS);
  }

  /** Resolves when every event is confirmed; bounded by the caller. */
  idle(): Promise<void> {
    this.#flush();
    this.#flushRefused();
    return this.#publisher.idle();
  }

  stop(): Promise<void> {
    this.#flush();
    return this.#publisher.stop();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const entry of this.#collected.splice(0)) this.#publisher.push(entry);
  }

  /** One of the queues that are bound is full, or has no leader; the others have it, and get it again. */
  #nacked(entry: Entry): void {
    entry.refusals++;
    if (entry.refusals === MAX_REFUSALS || this.#refused.length === MAX_REFUSED) {
      this.#observer.eventDropped();
      return;
    }
    this.#refused.push(entry);
    this.#refusedTimer ??= setTimeout(() => this.#flushRefused(), REFUSED_PAUSE_MS).unref();
  }

  #flushRefused(): void {
    clearTimeout(this.#refusedTimer);
    this.#refusedTimer = undefined;
    for (const entry of this.#refused.splice(0)) this.#publisher.push(entry);
  }
}

const MAX_KEPT = 50_000;
/** Elections of a leader take seconds. */
const MAX_REFUSALS = 3;
const REFUSED_PAUSE_MS = 5_000;
/** How many of them wait for that; they are not to take the place of others. */
const MAX_REFUSED = 5_000;
const COLLECT_MS = 100;
