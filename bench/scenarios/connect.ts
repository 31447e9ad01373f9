import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import { fleetOptions, targetOptions } from '../cli/common-options.ts';
import type { Values } from '../cli/option-table.ts';
import { FleetWatch } from '../fleet/fleet-watch.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { type Counters, differenceOf, total } from '../fleet/messages.ts';
import { harnessProblems, type ScheduleFigures } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import { Site } from '../site.ts';
import { type Contestant, contenderOptions, contenders, enterRatio, roundsOf } from './contenders.ts';
import { scenario } from './scenario.ts';

/** What a server does after the last handshake still belongs to the handshakes. */
const SETTLE_MS = 500;
/** Connections that sessions to resume come from. */
export const SEEDS = 64;

const options = {
  connections: {
    kind: 'count',
    default: 2_000,
    min: 1,
    help: 'Connections to make and hold, in each round.',
  },
  rate: {
    kind: 'number',
    default: 0,
    unit: 'connects/s',
    help: 'Connects a second, open loop; 0: flat out.',
  },
  concurrency: { kind: 'count', default: 64, min: 1, help: 'Connects under way at once, when flat out.' },
  warmupConnections: {
    kind: 'count',
    default: 3_000,
    help: 'Connections made flat out and closed first: a process takes about a thousand until its code is compiled.',
  },
  ...contenderOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

type Options = Values<typeof options>;

export const connect = scenario({
  name: 'connect',
  summary: 'TLS connects, full and resumed, at a rate or flat out',
  description: `Connects devices that then stay connected until all are. At a rate, connects begin at their planned time
whatever becomes of those before, and the time of a handshake counts from there. Flat out, a next connect begins
when an earlier one has ended, and the connects/s are those of server and harness on the same cores. With --resume,
some connects first fetch sessions to resume; they are not counted. With --resume 1 all that are counted must be
resumed.`,
  options,
  async run(run, options) {
    const site = await Site.prepare(run, options);
    const running: { name: string; contestant: Contestant; rounds: Round[] }[] = [];
    for (const contender of contenders(
      run,
      site,
      options,
      Math.max(options.connections, options.warmupConnections),
    )) {
      const contestant = await contender.start();
      running.push({ name: contender.name, contestant, rounds: [] });
      await warmUp(run, site, contestant, options);
    }
    for (let round = 1; round <= roundsOf(options); round++) {
      for (const { name, contestant, rounds } of running) {
        run.say(`${name}: round ${round} of ${roundsOf(options)}`);
        rounds.push(await measure(run, site, contestant, options));
      }
    }
    for (const { name, rounds } of running) enterRounds(run, name, rounds, options);
    const [own, ...peers] = running;
    for (const peer of peers) {
      const cpuOf = ({ name, rounds }: typeof peer) => ({ name, values: rounds.map(({ cpuMs }) => cpuMs) });
      enterRatio(run.measured, 'handshake.cpu', cpuOf(own!), cpuOf(peer));
    }
  },
});

interface Round {
  readonly elapsedS: number;
  readonly counters: Counters;
  /** Of the server, for each connection; NaN where it is not known. */
  readonly cpuMs: number;
  readonly latencies: LatencyBook;
}

async function warmUp(run: Run, site: Site, { target }: Contestant, options: Options): Promise<void> {
  const { warmupConnections: count, concurrency } = options;
  if (count === 0) return;
  const fleet = await site.startFleet(target, { connections: count, speaks: false });
  await fleet.connect(count, { concurrency });
  await fleet.close();
  await run.end(fleet);
}

async function measure(
  run: Run,
  site: Site,
  { target, meter }: Contestant,
  options: Options,
): Promise<Round> {
  const { connections, rate, concurrency } = options;
  const fleet = await site.startFleet(target, { connections: connections + SEEDS, speaks: false });
  if (options.resume > 0) await fleet.connect(SEEDS, { concurrency });
  await fleet.phase('measured');
  const before = fleet.counters;
  const watch = new FleetWatch(run, fleet, target.name);
  const harness = new HarnessMeter(fleet.meters());
  const cpuBeforeMs = meter.read().cpuMs;
  const startMs = performance.now();
  await fleet.connect(connections, rate > 0 ? { ratePerS: rate } : { concurrency });
  const elapsedS = (performance.now() - startMs) / 1_000;
  const { busiestCpuShare, cores } = harness.end();
  await delay(SETTLE_MS);
  const cpuMs = meter.read().cpuMs - cpuBeforeMs;
  const latencies = (await fleet.phases()).get('measured') ?? new LatencyBook();
  const counters = differenceOf(fleet.counters, before);
  watch.end();

  const connects = {
    lagP99Ms: latencies.percentileMs('lag.connect', 99),
    latencyP99Ms: latencies.percentileMs('handshake', 99),
    planned: counters.connectsPlanned,
    done: counters.connectsBegun,
  };
  const schedules: Record<string, ScheduleFigures> = rate > 0 ? { connects } : {};
  for (const problem of harnessProblems({ busiestCpuShare, schedules }, options.maxLag * 1_000))
    run.measured.problem(`${problem} (${target.name})`);
  run.measured.note(
    `${target.name}: the harness used ${(100 * cores).toFixed(0)} % of a core, ${(100 * busiestCpuShare).toFixed(0)} % its busiest process` +
      (rate > 0 ? `; p99 of its own lag ${connects.lagP99Ms.toFixed(1)} ms` : ''),
  );
  await fleet.close();
  await run.end(fleet);
  const perConnection = target.pids().length === 0 ? Number.NaN : cpuMs / counters.established;
  return { elapsedS, counters, cpuMs: perConnection, latencies };
}

function enterRounds(
  { measured }: Run,
  name: string,
  rounds: readonly Round[],
  { connections, resume }: Options,
): void {
  const each = (value: (round: Round) => number) => rounds.map(value);
  measured.median(
    'connect.rate',
    '1/s',
    each((r) => r.counters.established / r.elapsedS),
    name,
    'higher',
  );
  const cpuMs = each((r) => r.cpuMs);
  if (cpuMs.every(Number.isFinite)) measured.median('handshake.cpu', 'ms', cpuMs, name, 'lower');
  measured.median(
    'connect.established',
    '{connection}',
    each((r) => r.counters.established),
    name,
  );
  measured.median(
    'connect.resumed',
    '{connection}',
    each((r) => r.counters.resumed),
    name,
  );
  measured.median(
    'connect.failed',
    '{connection}',
    each((r) => total(r.counters.failed)),
    name,
    'lower',
  );
  const causes = new Set(rounds.flatMap((r) => Object.keys(r.counters.failed)));
  for (const cause of causes) {
    const failed = each((r) => r.counters.failed[cause] ?? 0);
    measured.median(`connect.failed.${cause}`, '{connection}', failed, name, 'lower');
  }
  const latencies = new LatencyBook();
  for (const round of rounds) latencies.merge(round.latencies);
  measured.latency('handshake', latencies, 'handshake', name);
  rounds.forEach(({ counters }, i) => {
    const failed = total(counters.failed);
    const lost = total(counters.lost);
    if (failed > 0)
      measured.problem(
        `${name}: ${failed} of ${connections} connects failed in round ${i + 1}: ${said(counters.failed)}`,
      );
    if (lost > 0)
      measured.problem(`${name}: ${lost} connections were lost in round ${i + 1}: ${said(counters.lost)}`);
    const { established, resumed } = counters;
    if (resume === 1 && resumed < established)
      measured.problem(`${name}: ${resumed} of ${established} were resumed in round ${i + 1}`);
  });
}

/** `12 ECONNRESET, 3 client_timeout` */
export function said(causes: Readonly<Record<string, number>>): string {
  return Object.entries(causes)
    .map(([cause, n]) => `${n} ${cause}`)
    .join(', ');
}
