import { Counter, collectDefaultMetrics, Gauge, type MetricObjectWithValues, Registry } from 'prom-client';
import { REFUSAL_REASONS } from '../acceptor/acceptor-options.ts';
import { HANDSHAKE_KINDS, type HandshakeKind } from '../acceptor/client-hello.ts';
import type { LinkName } from '../broker/broker-link.ts';
import { CLOSE_REASONS, type CloseReason } from '../endpoint/lifecycle.ts';
import { type ReplyOutcome, UNDELIVERED_REASONS } from '../reply.ts';
import type { LoopDelays } from '../util/loop-delay.ts';
import { PatientHistogram } from './patient-histogram.ts';

/**
 * Every metric of a worker: one method an event, so that the code that tells of it says what happened and this
 * file says how it is counted. The supervisor adds the workers' up.
 *
 * What happens per frame, reply or connection is counted in plain numbers, which a scrape copies: to find the value of
 * some labels by their names costs microseconds.
 */
export interface GaugeSources {
  connections(): number;
  unconfirmedFrames(): number;
  unconfirmedBytes(): number;
  /** Sockets in line for a TLS handshake. */
  admissionWaiting(): number;
  /** TLS handshakes that may be in progress at once. */
  admissionSlots(): number;
  trackedAddresses(): number;
  /** Since it was last asked. */
  loopDelays(): LoopDelays;
}

const SECONDS = 1 / 1_000;
const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class Metrics {
  readonly #registry = new Registry();
  #sources: GaugeSources = {
    connections: () => 0,
    unconfirmedFrames: () => 0,
    unconfirmedBytes: () => 0,
    admissionWaiting: () => 0,
    admissionSlots: () => 0,
    trackedAddresses: () => 0,
    loopDelays: () => ({ medianMs: 0, p99Ms: 0, maxMs: 0 }),
  };

  readonly #tally = {
    framesReceived: 0,
    bytesReceived: 0,
    framesSent: 0,
    bytesSent: 0,
    republished: 0,
    framesRefused: 0,
    paused: 0,
    parked: 0,
    handshaking: 0,
    events: 0,
  };

  readonly #closed = this.#countedBy(
    'owsla_connections_closed_total',
    'Connections and attempts that ended, by reason.',
    CLOSE_REASONS,
    (reason) => ({ reason }),
  );
  readonly #refused = this.#counter(
    'owsla_connections_refused_total',
    'Sockets reset before their TLS handshake, by reason.',
    ['reason'],
  );
  readonly #handshakes = this.#countedBy(
    'owsla_handshakes_total',
    'TLS handshakes that ended, by result and by whether a session was resumed.',
    ['full', 'resumed', ...CLOSE_REASONS],
    (end) =>
      end === 'full' || end === 'resumed'
        ? { result: 'ok', resumed: String(end === 'resumed') }
        : { result: end, resumed: 'false' },
  );
  readonly #handshakesStarted = this.#countedBy(
    'owsla_handshakes_started_total',
    'TLS handshakes that were started, by what the client offered: a full one, or a session to resume.',
    HANDSHAKE_KINDS,
    (kind) => ({ kind }),
  );
  readonly #admissionSeconds = this.#histogram(
    'owsla_admission_wait_seconds',
    'Time in line between the ClientHello and the start of the TLS handshake, in seconds.',
  );
  readonly #handshakeSeconds = this.#histogram(
    'owsla_handshake_seconds',
    'Time from accept to the end of a successful TLS handshake, in seconds.',
  );
  readonly #confirmSeconds = this.#histogram(
    'owsla_confirm_seconds',
    "Time from reading a frame to the broker's confirm, in seconds; one sample for each batch of confirms.",
  );
  readonly #replies = this.#countedBy(
    'owsla_replies_total',
    'Replies taken from the broker that were settled, by result.',
    ['delivered', 'duplicate', 'undelivered', 'forwarded'],
    (result) => ({ result }),
  );
  readonly #undelivered = this.#countedBy(
    'owsla_replies_undelivered_total',
    'Replies that went to the undelivered queue, by reason.',
    UNDELIVERED_REASONS,
    (reason) => ({ reason }),
  );
  readonly #rateExceeded = this.#counter(
    'owsla_connections_rate_exceeded_total',
    'Connections that have sent faster than endpoint.maxFramesPerSecond or maxBytesPerSecond, each counted once.',
  );
  readonly #gaps = this.#counter(
    'owsla_reply_gaps_total',
    'Gaps in to_device_seq that were skipped after the gap timeout.',
  );
  readonly #setAside = this.#counter(
    'owsla_replies_set_aside_total',
    "Replies that waited for a slow device or to be recorded, and were set aside so that others' could come.",
  );
  readonly #eventsDropped = this.#counter(
    'owsla_events_dropped_total',
    'Lifecycle events dropped because too many waited for the broker, or because a queue refused them three times.',
  );
  readonly #linkUp = this.#gauge(
    'owsla_broker_connected',
    'AMQP connections that are up, by link; one of each per worker.',
    ['link'],
  );
  readonly #linkBlocked = this.#gauge(
    'owsla_broker_blocked',
    'AMQP connections on which the broker blocks publishing, by link.',
    ['link'],
  );
  readonly #reconnects = this.#counter('owsla_broker_reconnects_total', 'AMQP connections lost, by link.', [
    'link',
  ]);

  /** @param worker its index, from 0 */
  constructor(worker: number) {
    collectDefaultMetrics({ register: this.#registry });
    const tally = this.#tally;
    this.#counted(
      'owsla_connections_opened_total',
      'Connections whose TLS handshake completed.',
      () => this.#handshakes.full + this.#handshakes.resumed,
    );
    this.#counted(
      'owsla_replies_forwarded_total',
      'Replies handed to the inbox of another node.',
      () => this.#replies.forwarded,
    );
    this.#counted('owsla_events_total', 'Lifecycle events confirmed by the broker.', () => tally.events);
    this.#counted('owsla_frames_received_total', 'Frames read from devices.', () => tally.framesReceived);
    this.#counted(
      'owsla_bytes_received_total',
      'Body bytes of frames read from devices.',
      () => tally.bytesReceived,
    );
    this.#counted('owsla_frames_sent_total', 'Replies written to devices.', () => tally.framesSent);
    this.#counted(
      'owsla_bytes_sent_total',
      'Body bytes of replies written to devices.',
      () => tally.bytesSent,
    );
    this.#counted(
      'owsla_frames_republished_total',
      'Frames published a second time after a broker channel was lost.',
      () => tally.republished,
    );
    this.#counted(
      'owsla_frames_refused_total',
      'Frames larger than the broker takes (its max_message_size); each ended its connection.',
      () => tally.framesRefused,
    );
    this.#measured('owsla_connections', 'Established device connections.', () => this.#sources.connections());
    this.#measured(
      'owsla_worker_connections',
      'Established device connections, by worker: how evenly they are spread.',
      () => this.#sources.connections(),
      { worker: String(worker) },
    );
    this.#measured(
      'owsla_handshakes_in_progress',
      'TLS handshakes that were started and have not ended.',
      () => tally.handshaking,
    );
    this.#measured('owsla_admission_waiting', 'Sockets in line for a TLS handshake.', () =>
      this.#sources.admissionWaiting(),
    );
    this.#measured(
      'owsla_admission_slots',
      'TLS handshakes that may be in progress at once; fewer while event loops are late.',
      () => this.#sources.admissionSlots(),
    );
    this.#measured('owsla_addresses_tracked', 'Addresses that limits per address remember.', () =>
      this.#sources.trackedAddresses(),
    );
    this.#measured(
      'owsla_connections_paused',
      'Connections whose reads are paused: the broker is behind, or they send faster than they may.',
      () => tally.paused,
    );
    this.#measured('owsla_unconfirmed_frames', 'Frames read and not confirmed by the broker.', () =>
      this.#sources.unconfirmedFrames(),
    );
    this.#measured('owsla_unconfirmed_bytes', 'Body bytes of those frames.', () =>
      this.#sources.unconfirmedBytes(),
    );
    this.#measured(
      'owsla_replies_parked',
      'Replies parked behind a missing to_device_seq.',
      () => tally.parked,
    );
    this.#eventLoopDelay();
    // A counter that first appears with its first event hides that event from rate() and increase().
    for (const reason of REFUSAL_REASONS) this.#refused.inc({ reason }, 0);
    for (const link of ['publish', 'consume', 'forward'] as const) {
      this.#linkUp.set({ link }, 0);
      this.#linkBlocked.set({ link }, 0);
    }
  }

  /** Where the gauges look when they are scraped. */
  observe(sources: GaugeSources): void {
    this.#sources = sources;
  }

  /** All values, in the form in which the supervisor aggregates them. */
  snapshot(): Promise<MetricObjectWithValues<never>[]> {
    return this.#registry.getMetricsAsJSON() as Promise<never>;
  }

  // ── connections ──────────────────────────────────────────────────────────────────────────────────────────

  handshakeStarted(kind: HandshakeKind, waitedMs: number): void {
    this.#tally.handshaking++;
    this.#handshakesStarted[kind]++;
    this.#admissionSeconds.observe(waitedMs * SECONDS);
  }

  handshakeSucceeded(durationMs: number, resumed: boolean): void {
    this.#tally.handshaking--;
    this.#handshakes[resumed ? 'resumed' : 'full']++;
    this.#handshakeSeconds.observe(durationMs * SECONDS);
  }

  /** @param started false when it failed before its TLS handshake began */
  handshakeFailed(reason: CloseReason, started: boolean): void {
    if (started) this.#tally.handshaking--;
    this.#handshakes[reason]++;
    this.#closed[reason]++;
  }

  connectionRefused(reason: string): void {
    this.#refused.inc({ reason });
  }

  connectionClosed(reason: CloseReason): void {
    this.#closed[reason]++;
  }

  readsPaused(): void {
    this.#tally.paused++;
  }

  readsResumed(): void {
    this.#tally.paused--;
  }

  // ── frames and replies ───────────────────────────────────────────────────────────────────────────────────

  frameReceived(bytes: number): void {
    this.#tally.framesReceived++;
    this.#tally.bytesReceived += bytes;
  }

  framesSent(count: number, bytes: number): void {
    this.#tally.framesSent += count;
    this.#tally.bytesSent += bytes;
  }

  frameConfirmed(latencyMs: number): void {
    this.#confirmSeconds.observe(latencyMs * SECONDS);
  }

  frameRepublished(): void {
    this.#tally.republished++;
  }

  frameRefused(): void {
    this.#tally.framesRefused++;
  }

  replySettled(outcome: ReplyOutcome | 'forwarded'): void {
    if (outcome === 'delivered' || outcome === 'duplicate' || outcome === 'forwarded') {
      this.#replies[outcome]++;
    } else {
      this.#replies.undelivered++;
      this.#undelivered[outcome]++;
    }
  }

  replyParked(delta: number): void {
    this.#tally.parked += delta;
  }

  rateExceeded(): void {
    this.#rateExceeded.inc();
  }

  gapSkipped(): void {
    this.#gaps.inc();
  }

  repliesSetAside(count: number): void {
    this.#setAside.inc(count);
  }

  // ── broker ───────────────────────────────────────────────────────────────────────────────────────────────

  eventPublished(): void {
    this.#tally.events++;
  }

  eventDropped(): void {
    this.#eventsDropped.inc();
  }

  linkConnected(link: LinkName): void {
    this.#linkUp.set({ link }, 1);
  }

  linkLost(link: LinkName): void {
    this.#linkUp.set({ link }, 0);
    this.#linkBlocked.set({ link }, 0);
    this.#reconnects.inc({ link });
  }

  linkBlocked(link: LinkName, blocked: boolean): void {
    this.#linkBlocked.set({ link }, blocked ? 1 : 0);
  }

  // ── how they are made ────────────────────────────────────────────────────────────────────────────────────

  #counter<L extends string>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #gauge<L extends string>(name: string, help: string, labelNames: L[] = []): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  #histogram(name: string, help: string): PatientHistogram {
    return new PatientHistogram({ name, help, buckets: LATENCY_BUCKETS, registers: [this.#registry] });
  }

  #counted(name: string, help: string, value: () => number): void {
    const collect = function (this: Counter) {
      this.reset();
      this.inc(value());
    };
    new Counter({ name, help, registers: [this.#registry], collect });
  }

  /** A plain number for each key, to be counted up by whoever holds the result. */
  #countedBy<K extends string>(
    name: string,
    help: string,
    keys: readonly K[],
    labelsOf: (key: K) => Record<string, string>,
  ): Record<K, number> {
    const counts = Object.fromEntries(keys.map((key) => [key, 0])) as Record<K, number>;
    const collect = function (this: Counter) {
      this.reset();
      for (const key of keys) this.inc(labelsOf(key), counts[key]);
    };
    const labelNames = Object.keys(labelsOf(keys[0]!));
    new Counter({ name, help, labelNames, registers: [this.#registry], collect });
    return counts;
  }

  #measured(name: string, help: string, value: () => number, labels: Record<string, string> = {}): void {
    const collect = function (this: Gauge) {
      this.set(labels, value());
    };
    new Gauge({ name, help, labelNames: Object.keys(labels), registers: [this.#registry], collect });
  }

  /** The worst worker's delay since the last scrape. */
  #eventLoopDelay(): void {
    const take = () => this.#sources.loopDelays();
    new Gauge({
      name: 'owsla_event_loop_delay_seconds',
      help: "Event-loop delay since the last scrape in seconds: the worst worker's median, 99th percentile and maximum.",
      labelNames: ['stat'],
      aggregator: 'max',
      registers: [this.#registry],
      collect() {
        const { medianMs, p99Ms, maxMs } = take();
        this.set({ stat: 'median' }, medianMs * SECONDS);
        this.set({ stat: 'p99' }, p99Ms * SECONDS);
        this.set({ stat: 'max' }, maxMs * SECONDS);
      },
    });
  }
}
