import { setTimeout as delay } from 'node:timers/promises';
import type { LedgerReport } from '../../src/dev/ledger.ts';
import { Meter } from '../accounting/meter.ts';
import type { LoadBackend } from '../backend/backend.ts';
import type { BackendOptions, LineOptions } from '../cli/common-options.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { FleetWatch } from '../fleet/fleet-watch.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { type Counters, sumCounters, total } from '../fleet/messages.ts';
import type { ScheduleFigures } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import type { Site } from '../site.ts';
import { type BrokerCounts, brokerCounts, messagesLeft } from '../target/broker-counts.ts';
import type { Target } from '../target/target.ts';
import { until } from '../until.ts';
import { said } from './connect.ts';

const PAUSE_MS = 250;
const QUEUES_EMPTY_MS = 15_000;
/** How many devices connect at once before the measurement. */
const CONCURRENCY = 32;

export interface TrafficOptions extends LineOptions {
  readonly devices: number;
}

/** How sending kept its plan. A missed line had its turn: its device was away. */
export function sendsOf(
  { linesPlanned, linesSent, linesMissed }: Counters,
  lagP99Ms: number,
): ScheduleFigures {
  return { lagP99Ms, planned: linesPlanned, done: linesSent + linesMissed };
}

/** Devices that speak to a backend through the target, with a ledger of every line and reply. */
export class LineTraffic {
  readonly target: Target;
  readonly fleet: Fleet;
  readonly backend: LoadBackend;
  readonly watch: FleetWatch;
  readonly meter: Meter;
  readonly #joined: Fleet[] = [];
  readonly #run: Run;
  readonly #site: Site;
  readonly #options: TrafficOptions;
  readonly #isEcho: boolean;
  readonly #countsBefore: BrokerCounts | undefined;

  /**
   * Starts backend and devices, and connects them.
   * @throws Error when not all devices connect
   */
  static async start(
    run: Run,
    site: Site,
    target: Target,
    options: TrafficOptions,
    backendOptions: BackendOptions | 'sink',
  ): Promise<LineTraffic> {
    const counts = site.broker === undefined ? undefined : await brokerCounts(site.broker);
    const backend = await site.startBackend(backendOptions);
    const fleet = await site.startFleet(target, { connections: options.devices, speaks: true });
    const traffic = new LineTraffic(run, site, target, fleet, backend, options, backendOptions, counts);
    run.say(`connecting ${options.devices} devices`);
    await fleet.connect(options.devices, { concurrency: CONCURRENCY });
    const { open, failed } = fleet.counters;
    if (open < options.devices)
      throw new Error(`only ${open} of ${options.devices} devices connected: ${said(failed)}`);
    return traffic;
  }

  private constructor(
    run: Run,
    site: Site,
    target: Target,
    fleet: Fleet,
    backend: LoadBackend,
    options: TrafficOptions,
    backendOptions: BackendOptions | 'sink',
    countsBefore: BrokerCounts | undefined,
  ) {
    this.#run = run;
    this.#site = site;
    this.target = target;
    this.fleet = fleet;
    this.backend = backend;
    this.#options = options;
    this.#isEcho = backendOptions !== 'sink';
    this.#countsBefore = countsBefore;
    this.watch = new FleetWatch(run, fleet, target.name);
    this.meter = new Meter(target.name, () => target.pids());
    run.sampler.watch(this.meter);
  }

  /** Its devices speak to the same backend, and their lines and replies are in the same account. */
  join(fleet: Fleet): void {
    this.#joined.push(fleet);
  }

  get #fleets(): Fleet[] {
    return [this.fleet, ...this.#joined];
  }

  get #counters(): Counters {
    return sumCounters(this.#fleets.map((fleet) => fleet.counters));
  }

  /** Processes of the harness that carry this load. */
  harnessMeters(): Meter[] {
    return [...this.#fleets.flatMap((fleet) => fleet.meters()), this.backend.meter()];
  }

  async send(ratePerS: number): Promise<void> {
    await this.fleet.send(ratePerS, this.#options.lineBytes);
  }

  /**
   * As many lines as the target takes. Kernel buffers would take some hundred thousand more than that, so no more
   * than `backlog` are on their way to the backend.
   */
  async flood(backlog: number): Promise<void> {
    const allow = () => this.fleet.flood(this.#options.lineBytes, this.backend.counters.taken + backlog);
    this.backend.onCounters = () => {
      allow().catch(() => {}); // A load process has ended; whoever waits for the fleet hears of it.
    };
    await allow();
  }

  /** Enters round trips of devices, a figure for each of these phases. */
  enterRoundTrips(books: ReadonlyMap<string, LatencyBook>, phases: readonly string[]): void {
    for (const phase of phases) {
      const book = books.get(phase) ?? new LatencyBook();
      this.#run.measured.latency(`rtt.${phase}`, book, 'rtt', this.target.name);
    }
  }

  /** Sends no more; resolves when nothing is on the way, or when nothing has moved for the time of `--drain`. */
  async settle(): Promise<void> {
    this.backend.onCounters = () => {};
    let last = '';
    let lastMs = performance.now();
    for (;;) {
      // The answer brings the counters up to date.
      await Promise.all(this.#fleets.map((fleet) => fleet.quiet()));
      const { linesSent, replies, unanswered, waiting, connecting } = this.#counters;
      const { taken, published, dropped, undelivered } = this.backend.counters;
      const answered = unanswered <= dropped && published + dropped >= taken;
      if (this.#isEcho ? answered : taken >= linesSent) break;
      const now = [linesSent, replies, taken, published, undelivered, waiting, connecting].join(' ');
      if (now !== last) lastMs = performance.now();
      last = now;
      this.#run.progress.status('backend', `${taken} lines taken of ${linesSent}, ${unanswered} unanswered`);
      if (performance.now() - lastMs > this.#options.drain * 1_000) break;
      await delay(PAUSE_MS);
    }
    this.#run.progress.status('backend', undefined);
  }

  /**
   * The account of the ledger, entered as figures, and as problems where a promise was broken.
   * @param mayLoseConnections the scenario ends connections itself
   */
  async account(mayLoseConnections = false): Promise<LedgerReport> {
    const { measured } = this.#run;
    const tallies = await Promise.all(this.#fleets.map((fleet) => fleet.tallies()));
    const report = await this.backend.report(tallies.flat());
    const { lines, replies } = report;
    const enter = (name: string, value: number, better?: 'lower') =>
      measured.metric(name, '{line}', value, this.target.name, better);
    enter('lines.sent', lines.sent);
    enter('lines.taken', lines.taken);
    enter('lines.lost', lines.lost, 'lower');
    enter('lines.duplicated', lines.unmarked, 'lower');
    enter('lines.republished', lines.marked);
    enter('lines.redelivered', lines.redelivered);
    if (lines.firstMarked !== undefined) measured.note(`the first republished: ${lines.firstMarked}`);
    enter('lines.misordered', lines.misordered, 'lower');
    enter('lines.unread', lines.unread);
    const { lost, linesMissed } = this.#counters;
    enter('lines.missed', linesMissed);
    if (this.#isEcho) {
      enter('replies.published', replies.published);
      enter('replies.received', replies.received);
      enter('replies.lost', replies.lost, 'lower');
      enter('replies.duplicated', replies.unmarked, 'lower');
      enter('replies.misordered', replies.misordered, 'lower');
      enter('replies.unknown', replies.unknown);
    }
    for (const [reason, n] of Object.entries(replies.undelivered)) enter(`replies.undelivered.${reason}`, n);
    const broken: Record<string, number> = {
      'lines lost': lines.lost,
      'lines duplicated without a mark': lines.unmarked,
      'lines out of order': lines.misordered,
      'replies lost': replies.lost,
      'replies duplicated': replies.unmarked,
      'replies out of order': replies.misordered,
    };
    for (const [what, n] of Object.entries(broken)) if (n > 0) measured.problem(`${n} ${what}`);
    if (!mayLoseConnections && total(lost) > 0)
      measured.problem(`${total(lost)} connections were lost: ${said(lost)}`);
    for (const violation of report.violations) measured.problem(`ledger: ${violation}`);
    return report;
  }

  /**
   * Holds the ledger against the broker's own counts, where the broker is the harness's own and was not restarted:
   * it must have received at least as many messages, and keep none.
   */
  async holdAgainstBroker({ lines, replies }: LedgerReport): Promise<void> {
    const { broker } = this.#site;
    if (broker === undefined || this.#countsBefore === undefined) return;
    const { measured } = this.#run;
    const received = (await brokerCounts(broker)).received - this.#countsBefore.received;
    const known = lines.taken + lines.marked + replies.published + this.backend.counters.duplicated;
    measured.metric('broker.received', '{message}', received, 'broker');
    measured.note(
      `the broker counted ${received} messages; lines and replies in the ledger are ${known}, the rest lifecycle events and readiness probes`,
    );
    if (received < known)
      measured.problem(`the broker counted ${received} messages, the ledger has ${known} lines and replies`);
    // Quorum queues tell how many they hold with a delay.
    let left: [string, number][] = [];
    await until(async () => {
      left = Object.entries(await messagesLeft(broker)).filter(([queue]) => !queue.startsWith('amq.'));
      return left.length === 0;
    }, QUEUES_EMPTY_MS);
    for (const [queue, messages] of left)
      measured.problem(`${messages} messages are left in the queue ${queue}`);
  }
}
