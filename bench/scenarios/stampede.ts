import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import {
  backendOptions,
  establishedOptions,
  fleetOptions,
  lineOptions,
  retryOptions,
  targetOptions,
} from '../cli/common-options.ts';
import type { Values } from '../cli/option-table.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { FleetWatch } from '../fleet/fleet-watch.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { differenceOf, total } from '../fleet/messages.ts';
import { harnessProblems } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import { Site } from '../site.ts';
import type { Target } from '../target/target.ts';
import { until } from '../until.ts';
import { said } from './connect.ts';
import { LineTraffic, sendsOf } from './line-traffic.ts';
import { recoveredAt, worstP99Ms } from './recovery.ts';
import { scenario } from './scenario.ts';

/** Admission that lets everybody in at once, which is what `--admission off` means. */
const ADMISSION_OFF = { OWSLA_ADMISSION_ENABLED: 'false', OWSLA_LISTEN_ACCEPTORS: '100000' };

/** Where quiet latency is tiny, a multiple of it is still no harm. */
const LEAST_BOUND_MS = 20;

const options = {
  ...establishedOptions,
  capacity: {
    kind: 'number',
    default: 0,
    unit: 'connects/s',
    help: 'What the target can take; 0: measured first, flat out, beside the steady traffic.',
  },
  capacityConnections: {
    kind: 'count',
    default: 1_000,
    min: 1,
    help: 'Connections it is measured with, after as many that are not counted.',
  },
  concurrency: {
    kind: 'count',
    default: 64,
    min: 1,
    help: 'Connects under way at once while it is measured.',
  },
  factor: {
    kind: 'number',
    default: 2,
    min: 0.1,
    help: 'New devices in the storm, as a multiple of the capacity.',
  },
  storm: { kind: 'duration', default: 10, min: 0.1, help: 'Length of the storm.' },
  calm: { kind: 'duration', default: 60, min: 1, help: 'How long it may take afterwards to come back.' },
  recoveredFactor: {
    kind: 'number',
    default: 3,
    min: 1,
    help: 'It is back when the established p99 of a second is at most so many times that of the worst quiet one.',
  },
  admission: {
    kind: 'choice',
    choices: ['on', 'off'],
    default: 'on',
    help: 'off: the gateway lets everybody in at once. Finer settings go with --gateway.',
  },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
  ...retryOptions,
  connectTimeout: { ...fleetOptions.connectTimeout, default: 5 },
} as const;

type Options = Values<typeof options>;

export const stampede = scenario({
  name: 'stampede',
  summary: 'a storm of connects over an established population',
  description: `An established population with steady echo traffic; then new devices arrive at a multiple of the measured
capacity, give attempts up after --connect-timeout and try again; then no more arrive. Goodput is how many of them
were connected a second during the storm. It came back by itself when, within --calm, the established p99 is good
again for most of five seconds and every new device is connected or has given up.`,
  options,
  async run(run, options) {
    const { measured } = run;
    const site = await Site.prepare(run, options, options.admission === 'off' ? ADMISSION_OFF : {});
    const target = await site.startTarget(options.devices);
    const traffic = await LineTraffic.start(run, site, target, options, options);
    await traffic.send(options.rate);
    await delay(options.warmup * 1_000);
    const capacity = options.capacity || (await measureCapacity(run, site, target, options));
    measured.metric('stampede.capacity', '1/s', capacity, target.name, 'higher');

    const arrivals = Math.max(1, Math.round(capacity * options.factor * options.storm));
    const storm = await site.startFleet(target, { connections: arrivals, speaks: false });
    const stormWatch = new FleetWatch(run, storm, 'storm');
    run.say(`quiet for ${options.quiet} s`);
    await traffic.fleet.phase('quiet');
    const quietFromS = run.second;
    await delay(options.quiet * 1_000);
    const quietP99Ms = worstP99Ms(traffic.watch.points, quietFromS, run.second);

    run.say(`storm: ${arrivals} new devices in ${options.storm} s, ${options.factor} times the capacity`);
    const harness = new HarnessMeter([...storm.meters(), ...traffic.harnessMeters()]);
    await traffic.fleet.phase('storm');
    const countersBefore = traffic.fleet.counters;
    const stormFromS = run.second;
    const arriving = storm.connect(arrivals, { ratePerS: capacity * options.factor });
    arriving.catch(() => {}); // Waited for below.
    await delay(options.storm * 1_000);
    await Promise.all([traffic.fleet.phase('after'), storm.quiet()]);
    const stormEndS = run.second;
    measured.spans.push({ name: 'storm', fromS: stormFromS, toS: stormEndS });
    const atEnd = storm.counters;
    const during = differenceOf(traffic.fleet.counters, countersBefore);
    const { busiestCpuShare } = harness.end();
    measured.metric('stampede.offered', '1/s', atEnd.connectsBegun / options.storm, target.name);
    const goodput = atEnd.established / (stormEndS - stormFromS);
    measured.metric('stampede.goodput', '1/s', goodput, target.name, 'higher');
    measured.metric('stampede.goodput.ratio', '1', goodput / capacity, target.name, 'higher');
    run.say(`calm: ${atEnd.open} of ${arrivals} are connected`);

    const boundMs = Math.max(LEAST_BOUND_MS, quietP99Ms * options.recoveredFactor);
    const latencyBack = () => recoveredAt(traffic.watch.points, stormEndS, boundMs);
    let settledS: number | undefined;
    await until(async () => {
      if (settledS === undefined && (await isSettled(storm, arrivals))) settledS = run.second;
      return settledS !== undefined && latencyBack() !== undefined;
    }, options.calm * 1_000);
    await arriving;
    enterRecovery(run, target, { stormEndS, latencyBackS: latencyBack(), settledS, calmS: options.calm });
    const inAll = storm.counters;
    enterStorm(run, target, inAll.open, total(inAll.failed), inAll.gaveUp, arrivals);
    if (total(inAll.failed) > 0) measured.note(`failed attempts of the storm: ${said(inAll.failed)}`);

    const stormBook = LatencyBook.sum((await storm.phases()).values());
    const lagP99Ms = stormBook.percentileMs('lag.connect', 99);
    const connects = { lagP99Ms, planned: atEnd.connectsPlanned, done: atEnd.connectsBegun };
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    measured.metric('harness.lag.connects.p99', 'ms', lagP99Ms, 'harness');
    const books = await traffic.fleet.phases();
    const lags = lagsOf(books, ['quiet', 'storm']);
    for (const [phase, lagMs] of lags) measured.metric(`harness.lag.${phase}.p99`, 'ms', lagMs, 'harness');
    const sends = sendsOf(during, Math.max(...lags.map(([, lagMs]) => lagMs)));
    const figures = { busiestCpuShare, schedules: { connects, sends } };
    for (const problem of harnessProblems(figures, options.maxLag * 1_000)) measured.problem(problem);
    measured.latency('handshake.storm', stormBook, 'handshake', target.name);
    traffic.enterRoundTrips(books, ['quiet', 'storm', 'after']);
    stormWatch.end();
    await storm.close();
    await run.end(storm);
    traffic.watch.end();
    await traffic.settle();
    await traffic.holdAgainstBroker(await traffic.account());
  },
});

/** Connects a second that the target takes beside the steady traffic, flat out. */
async function measureCapacity(run: Run, site: Site, target: Target, options: Options): Promise<number> {
  const { capacityConnections: count, concurrency } = options;
  run.say(`measuring the capacity with ${count} connects, after as many to warm up`);
  const retry = { kind: 'none', minMs: 0, maxMs: 0, limit: 0 } as const;
  const fleet = await site.startFleet(target, { connections: 2 * count, speaks: false, retry });
  // The first thousand handshakes of a process cost nearly twice what later ones do, on both sides.
  await fleet.connect(count, { concurrency });
  const warm = fleet.counters.established;
  const startMs = performance.now();
  await fleet.connect(count, { concurrency });
  const perS = ((fleet.counters.established - warm) * 1_000) / (performance.now() - startMs);
  await fleet.close();
  await run.end(fleet);
  run.say(`capacity: ${perS.toFixed(0)} connects/s`);
  return perS;
}

/** Each new device is connected or has given up. */
async function isSettled(storm: Fleet, arrivals: number): Promise<boolean> {
  await storm.quiet();
  const { open, gaveUp } = storm.counters;
  return open + gaveUp >= arrivals;
}

/** p99 of how late lines were sent, for each of these phases. */
function lagsOf(books: ReadonlyMap<string, LatencyBook>, phases: readonly string[]): [string, number][] {
  return phases.map((phase) => [phase, books.get(phase)?.percentileMs('lag.send', 99) ?? 0]);
}

interface RecoveryFacts {
  readonly stormEndS: number;
  /** When the established latency was good again. */
  readonly latencyBackS: number | undefined;
  /** When every new device was connected or had given up. */
  readonly settledS: number | undefined;
  readonly calmS: number;
}

function enterRecovery({ measured }: Run, { name }: Target, facts: RecoveryFacts): void {
  const { stormEndS, latencyBackS, settledS, calmS } = facts;
  const after = (momentS: number) => Math.max(0, momentS - stormEndS);
  const alone = latencyBackS !== undefined && settledS !== undefined;
  measured.metric('recovery.alone', '1', alone ? 1 : 0, name, 'higher');
  if (latencyBackS !== undefined)
    measured.metric('recovery.latency', 's', after(latencyBackS), name, 'lower');
  if (settledS !== undefined) measured.metric('recovery.connects', 's', after(settledS), name, 'lower');
  if (alone) measured.metric('recovery.time', 's', after(Math.max(latencyBackS, settledS)), name, 'lower');
  else measured.problem(`it did not come back by itself within ${calmS} s after the storm`);
}

function enterStorm(
  { measured }: Run,
  { name }: Target,
  open: number,
  failed: number,
  gaveUp: number,
  arrivals: number,
): void {
  measured.metric('stampede.arrivals', '{connection}', arrivals, name);
  measured.metric('stampede.connected', '{connection}', open, name);
  measured.metric('stampede.gaveUp', '{connection}', gaveUp, name, 'lower');
  measured.metric('stampede.failedAttempts', '{connection}', failed, name, 'lower');
}
