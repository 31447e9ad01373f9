import type { ChannelModel, ConsumeMessage } from 'amqplib';
import type { Logger } from 'pino';
import type { NodeId } from '../registry/connection-id.ts';
import { Backoff } from '../util/backoff.ts';
import { jitter } from '../util/jitter.ts';
import { BrokerLink, type LinkName, type LinkObserver, type LinkOptions } from './broker-link.ts';
import { Consumer, type ConsumerOptions } from './consumer.ts';
import type { ConsumerSession } from './consumer-session.ts';
import { Delivery, type SettledObserver } from './delivery.ts';
import { type EventObserver, EventPublisher } from './event-publisher.ts';
import { Forwarder } from './forwarder.ts';
import { Producer, type ProducerLimits, type ProducerObserver } from './producer.ts';
import { ReplyMemory } from './reply-memory.ts';
import { RoundTrip, type RoundTripOptions } from './round-trip.ts';
import { Topology, type TopologyNames, type TopologyOptions } from './topology.ts';
import { UndeliveredPublisher } from './undelivered-publisher.ts';

/**
 * All that one node has at the broker, over three connections:
 *
 *   publish   producer ──► from_device              round trip ──► own inbox
 *   consume   to_device ──► consumer pool           own inbox ──► inbox consumer
 *   forward   forwarder ──► other inboxes           undelivered, events
 */
export interface BrokerOptions {
  readonly link: LinkOptions;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  readonly names: TopologyNames;
  readonly topology: TopologyOptions;
  readonly inboxPrefix: string;
  readonly producer: ProducerLimits;
  readonly consumers: number;
  readonly prefetch: number;
  readonly maxHeldBytes: number;
  readonly forwardGraceMs: number;
  readonly roundTrip: RoundTripOptions;
}

export interface BrokerObserver extends LinkObserver, ProducerObserver, EventObserver {
  replySettled: SettledObserver['replySettled'];
}

export interface ReplyHandlers {
  /** Takes a reply and must settle it. */
  received(delivery: Delivery): void;
  /** So many replies will wait for longer. */
  setAside(count: number): void;
  receiptDue: SettledObserver['receiptDue'];
}

const REST_IDLE_MS = 2_000;
const GIVE_WAY_MS = 500;
/** A consumer to which nothing comes is suspected as late as a broker from which nothing does. */
const QUIET_HEARTBEATS = 2;
/** Of the prefetch on the shared queue, for replies to inboxes that refuse them. */
const REFUSED_SHARE = 0.25;
/** Of those that the queues allow, what forwards that cannot be made leave to crashes. */
const SPARE_DELIVERIES = 3;

export class Broker {
  readonly producer: Producer;
  readonly forwarder: Forwarder;
  readonly events: EventPublisher;
  readonly roundTrip: RoundTrip;
  readonly #undelivered: UndeliveredPublisher;
  /** Those of the shared queue. */
  readonly #pool: Consumer[] = [];
  /** The pool and the inbox. */
  readonly #consumers: Consumer[];
  readonly #adopted: Consumer[] = [];
  readonly #inboxOf: (owner: NodeId) => Consumer;
  readonly #links: BrokerLink[];
  readonly #adoptionMs: number;
  readonly #memory: ReplyMemory;

  constructor(options: BrokerOptions, replies: ReplyHandlers, observer: BrokerObserver, log: Logger) {
    const backoff = () => new Backoff(options.reconnectMinMs, options.reconnectMaxMs);
    const link = (name: LinkName) => new BrokerLink(name, options.link, backoff(), observer, log);
    const [publish, consume, forward] = [link('publish'), link('consume'), link('forward')];
    this.#links = [publish, consume, forward];
    this.#adoptionMs = options.topology.inboxExpiresMs;

    this.#memory = new ReplyMemory(options.maxHeldBytes);
    const topology = new Topology(options.names, options.topology, log);
    this.producer = new Producer(publish, topology, options.producer, backoff(), observer, log);
    this.#undelivered = new UndeliveredPublisher(forward, topology, this.#memory, backoff(), log);
    const forwarding = {
      graceMs: options.forwardGraceMs,
      maxRefused: Math.floor(options.consumers * options.prefetch * REFUSED_SHARE),
      maxGiveBacks: Math.max(0, options.topology.deliveryLimit - SPARE_DELIVERIES),
      isAlarmed: () => publish.isBlocked,
      givingBack: () => {
        // Not in step with a node that holds replies of this one, so that they meet.
        const ms = GIVE_WAY_MS * jitter();
        for (const each of this.#pool) each.giveWay(ms);
      },
    };
    this.forwarder = new Forwarder(forward, options.inboxPrefix, forwarding, backoff(), log);
    this.events = new EventPublisher(forward, topology, backoff(), observer, log);

    const settled: SettledObserver = {
      replySettled: (outcome) => observer.replySettled(outcome),
      receiptDue: (delivery, outcome, detail) => replies.receiptDue(delivery, outcome, detail),
    };
    const received = (message: ConsumeMessage, session: ConsumerSession) => {
      if (this.roundTrip.takes(message, session)) return;
      replies.received(new Delivery(message, session, this.#undelivered, settled));
    };
    const { names, prefetch } = options;
    const quietMs = QUIET_HEARTBEATS * options.link.heartbeatSeconds * 1_000;
    const setAside = (count: number) => replies.setAside(count);
    const consumer = (
      name: string,
      queue: string,
      prepare: ConsumerOptions['prepare'],
      memory = this.#memory,
    ) =>
      new Consumer(
        consume,
        { name, queue, prepare, prefetch, quietMs, memory, received, setAside },
        backoff(),
        log,
      );
    for (let i = 0; i < options.consumers; i++) {
      const prepare = (model: ChannelModel) => topology.declare(model, 'undelivered', 'toDevice');
      this.#pool.push(consumer(`consumer-${i}`, names.toDevice, prepare));
    }
    this.#consumers = [
      ...this.#pool,
      consumer('inbox', names.inbox, (model) => topology.declare(model, 'undelivered', 'inbox')),
    ];
    this.#inboxOf = (owner) => {
      const queue = options.inboxPrefix + owner;
      // Nobody there waits for another: what comes is undelivered.
      const nothingAside = new ReplyMemory(0);
      return consumer(
        `inbox of ${owner}`,
        queue,
        (model) => topology.declareInbox(model, queue),
        nothingAside,
      );
    };

    const whole = () =>
      this.producer.isUp &&
      this.#undelivered.isUp &&
      this.forwarder.isUp &&
      this.#consumers.every((c) => c.isUp);
    this.roundTrip = new RoundTrip(publish, topology, options.roundTrip, whole, backoff(), log);
    this.roundTrip.onConfirmed(() => {
      for (const each of this.#consumers) each.startOverIfQuiet();
    });
    for (const each of this.#links)
      each.listen({ lost: () => this.roundTrip.failed(`${each.name} connection lost`) });
  }

  start(): void {
    for (const link of this.#links) link.start();
    this.roundTrip.start();
  }

  /** Empties the inbox of a node that is gone. */
  adopt(owner: NodeId): void {
    const consumer = this.#inboxOf(owner);
    this.#adopted.push(consumer);
    // By then whoever still answers those connections has had time enough; without a consumer the queue expires.
    setTimeout(() => void consumer.stop(), this.#adoptionMs).unref();
  }

  /**
   * Bytes of replies that devices have to let go of, because a consumer that they have filled can set nothing aside and
   * takes no replies for anybody.
   */
  congestion(): number {
    // While nothing can be forwarded, lanes wait for replies that other nodes cannot hand on: no device is to blame.
    if (!this.forwarder.takes) return 0;
    return this.#consumers.some((consumer) => consumer.isStuck) ? this.#memory.excess : 0;
  }

  /** Takes no more replies; those received are settled by whoever holds them. */
  async stopConsuming(): Promise<void> {
    await this.roundTrip.stop();
    await Promise.all([...this.#consumers, ...this.#adopted].map((consumer) => consumer.cancel()));
  }

  /**
   * Resolves when every frame is confirmed; bounded by the caller. Fates, forwards and events get a short while:
   * the messages behind the first two are not acknowledged yet, so the broker still has them.
   */
  async idle(): Promise<void> {
    await this.producer.idle();
    const rest = Promise.all([this.#undelivered.idle(), this.forwarder.idle(), this.events.idle()]);
    await Promise.race([rest, new Promise((resolve) => setTimeout(resolve, REST_IDLE_MS).unref())]);
  }

  async stop(): Promise<void> {
    await this.roundTrip.stop();
    await Promise.all([...this.#consumers, ...this.#adopted].map((consumer) => consumer.stop()));
    await Promise.all([
      this.producer.stop(),
      this.#undelivered.stop(),
      this.forwarder.stop(),
      this.events.stop(),
    ]);
    await Promise.all(this.#links.map((link) => link.stop()));
  }
}
