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
  readonly #publisher: ConfirmedPublisher<GatewayEvent>;
  readonly #observer: EventObserver;
  #collected: GatewayEvent[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(link: BrokerLink, topology: Topology, backoff: Backoff, observer: EventObserver, log: Logger) {
    this.#observer = observer;
    const exchange = topology.names.events;
    this.#publisher = new ConfirmedPublisher<GatewayEvent>(
      link,
      {
        name: 'events',
        prepare: (model) => topology.declare(model, 'events'),
        send: (channel, event) =>
          channel.publish(exchange, event.event, Buffer.from(JSON.stringify(event)), {
            contentType: 'application/json',
            persistent: true,
          }),
        confirmed: () => observer.eventPublished(),
      },
      backoff,
      log,
    );
  }

  publish(event: GatewayEvent): void {
    if (this.#publisher.size + this.#collected.length >= MAX_KEPT) {
      this.#observer.eventDropped();
      return;
    }
    this.#collected.push(event);
    this.#timer ??= setTimeout(() => this.#flush(), COLLECT_MS);
  }

  /** Resolves when every event is confirmed; bounded by the caller. */
  idle(): Promise<void> {
    this.#flush();
    return this.#publisher.idle();
  }

  stop(): Promise<void> {
    this.#flush();
    return this.#publisher.stop();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const event of this.#collected.splice(0)) this.#publisher.push(event);
  }
}

const MAX_KEPT = 50_000;
const COLLECT_MS = 100;
