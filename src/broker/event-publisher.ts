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
 * bounded number is kept and what comes after is dropped and counted.
 */
export class EventPublisher {
  readonly #publisher: ConfirmedPublisher<GatewayEvent>;
  readonly #observer: EventObserver;

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
    if (this.#publisher.size >= MAX_KEPT) this.#observer.eventDropped();
    else this.#publisher.push(event);
  }

  idle(): Promise<void> {
    return this.#publisher.idle();
  }

  stop(): Promise<void> {
    return this.#publisher.stop();
  }
}

const MAX_KEPT = 50_000;
