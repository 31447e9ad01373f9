import type { Logger } from 'pino';
import type { UndeliveredReason } from '../reply.ts';
import type { Backoff } from '../util/backoff.ts';
import type { BrokerLink } from './broker-link.ts';
import { ConfirmedPublisher } from './confirmed-publisher.ts';
import type { Delivery, UndeliveredSink } from './delivery.ts';
import { resendableHeaders, resendableProperties } from './envelope.ts';
import type { ReplyMemory } from './reply-memory.ts';
import type { Topology } from './topology.ts';

interface Fate {
  readonly delivery: Delivery;
  readonly reason: UndeliveredReason;
  readonly detail: string | undefined;
}

/** Replies that a device has left behind come all at once, and none of them is urgent. */
const PACE_BYTES = 65_536;

/**
 * Records what could not be delivered: the message as it came, with a `reason`, into the undelivered queue. The
 * original is acknowledged after the record is confirmed. The memory for replies and the consumers' prefetch bound
 * how many there are.
 */
export class UndeliveredPublisher implements UndeliveredSink {
  readonly #publisher: ConfirmedPublisher<Fate>;
  #isUrgent = false;

  constructor(link: BrokerLink, topology: Topology, memory: ReplyMemory, backoff: Backoff, log: Logger) {
    const queue = topology.names.undelivered;
    this.#publisher = new ConfirmedPublisher<Fate>(
      link,
      {
        name: 'undelivered',
        prepare: (model) => topology.declare(model, 'undelivered'),
        pace: {
          maxBytes: () => (this.#isUrgent || memory.isFull ? Number.POSITIVE_INFINITY : PACE_BYTES),
        },
        bytesOf: ({ delivery }) => delivery.heldBytes,
        send: (channel, { delivery, reason, detail }) =>
          channel.publish('', queue, delivery.message.content, {
            ...resendableProperties(delivery.message),
            headers: {
              ...resendableHeaders(delivery.message.properties.headers),
              reason,
              ...(detail === undefined ? {} : { reason_detail: detail }),
            },
          }),
        confirmed: ({ delivery }) => delivery.acknowledge(),
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#publisher.isUp;
  }

  record(delivery: Delivery, reason: UndeliveredReason, detail: string | undefined): void {
    delivery.detach();
    this.#publisher.push({ delivery, reason, detail });
  }

  /** Resolves when all are recorded; from here on without a pace. */
  idle(): Promise<void> {
    this.#isUrgent = true;
    return this.#publisher.idle();
  }

  stop(): Promise<void> {
    return this.#publisher.stop();
  }
}
