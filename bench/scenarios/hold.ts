import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import { type Usage, usageOf } from '../accounting/process-usage.ts';
import { deviceOptions, targetOptions } from '../cli/common-options.ts';
import type { Values } from '../cli/option-table.ts';
import { FleetWatch } from '../fleet/fleet-watch.ts';
import { total } from '../fleet/messages.ts';
import { harnessProblems } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import { Site } from '../site.ts';
import type { Target } from '../target/target.ts';
import { said } from './connect.ts';
import { type Contender, contenderOptions, contenders, enterRatio, roundsOf } from './contenders.ts';
import { scenario } from './scenario.ts';

const options = {
  connections: { kind: 'count', default: 2_000, min: 1, help: 'Connections to hold.' },
  rate: { kind: 'number', default: 500, unit: 'connects/s', help: 'How fast they are made; 0: flat out.' },
  concurrency: { kind: 'count', default: 64, min: 1, help: 'Connects under way at once, when flat out.' },
  idle: { kind: 'duration', default: 10, help: 'How long they are held while CPU is measured.' },
  settle: {
    kind: 'duration',
    default: 3,
    help: 'Wait before memory is read, each time: garbage is collected when there is little to do.',
  },
  warmupConnections: {
    kind: 'count',
    default: 100,
    help: 'Connections made and closed first, so that code loaded late is not taken for connections. Few: what they leave on the heap is used again, and makes the others look smaller.',
  },
  ...contenderOptions,
  ...targetOptions,
  ...deviceOptions,
} as const;

type Options = Values<typeof options>;

export const hold = scenario({
  name: 'hold',
  summary: 'idle connections: memory of each, CPU of all',
  description: `Resident memory of all processes of the target before, while it holds the connections, and after they have
left; the difference by connection. Each round starts its target anew, since memory once taken is seldom given
back. Few connections make the figure coarse: take some thousands.`,
  options,
  async run(run, options) {
    const site = await Site.prepare(run, options);
    const all = contenders(run, site, options, Math.max(options.connections, options.warmupConnections)).map(
      (contender) => ({
        contender,
        name: contender.name,
        rounds: [] as Round[],
      }),
    );
    for (let round = 1; round <= roundsOf(options); round++) {
      for (const { name, contender, rounds } of all) {
        run.say(`${name}: round ${round} of ${roundsOf(options)}`);
        rounds.push(await measure(run, site, contender, options));
      }
    }
    for (const { name, rounds } of all) enterRounds(run, name, rounds);
    const [own, ...peers] = all;
    for (const peer of peers) {
      const memoryOf = ({ name, rounds }: typeof peer) => ({
        name,
        values: rounds.map((r) => r.perConnection),
      });
      enterRatio(run.measured, 'memory.perConnection', memoryOf(own!), memoryOf(peer));
    }
  },
});

interface Round {
  readonly before: Usage;
  readonly held: Usage;
  readonly after: Usage;
  readonly processes: number;
  /** Connections of the busiest process, over the mean of those that hold any; NaN where it is not known. */
  readonly imbalance: number;
  /** Bytes; NaN where it is not known. */
  readonly perConnection: number;
  /** 100 is a core. */
  readonly idleCpuPercent: number;
}

async function measure(run: Run, site: Site, contender: Contender, options: Options): Promise<Round> {
  const { connections, rate, concurrency, warmupConnections, idle, settle } = options;
  const { target, meter, stop } = await contender.start();
  if (warmupConnections > 0) {
    const first = await site.startFleet(target, { connections: warmupConnections, speaks: false });
    await first.connect(warmupConnections, { concurrency });
    await first.close();
    await run.end(first);
  }
  await delay(settle * 1_000);
  const before = meter.read();
  const heldBy = holders(target);

  const fleet = await site.startFleet(target, { connections, speaks: false });
  const watch = new FleetWatch(run, fleet, target.name);
  const harness = new HarnessMeter(fleet.meters());
  await fleet.connect(connections, rate > 0 ? { ratePerS: rate } : { concurrency });
  const { busiestCpuShare } = harness.end();
  for (const problem of harnessProblems({ busiestCpuShare, schedules: {} }, 0))
    run.measured.note(`${problem} (${target.name}, while connecting; the memory is not touched by it)`);
  await delay(settle * 1_000);

  const idleFromMs = performance.now();
  const cpuFromMs = meter.read().cpuMs;
  await delay(idle * 1_000);
  const held = meter.read();
  const imbalance = imbalanceOf(heldBy());
  const idleCpuPercent = (100 * (held.cpuMs - cpuFromMs)) / (performance.now() - idleFromMs);
  // What the fleet tells lags behind by half a second; an answer brings it up to date.
  await fleet.quiet();
  const { counters } = fleet;
  watch.end();
  if (counters.open !== connections) {
    const why = said({ ...counters.failed, ...counters.lost });
    run.measured.problem(`${target.name}: held ${counters.open} of ${connections} connections: ${why}`);
  }
  if (total(counters.lost) > 0)
    run.measured.problem(
      `${target.name}: lost ${total(counters.lost)} idle connections: ${said(counters.lost)}`,
    );

  await fleet.close();
  await run.end(fleet);
  await delay(settle * 1_000);
  const after = meter.read();
  const processes = target.pids().length;
  await stop();
  const perConnection = processes > 0 ? (held.rssBytes - before.rssBytes) / counters.open : Number.NaN;
  return { before, held, after, processes, imbalance, perConnection, idleCpuPercent };
}

/** What each process of a target holds beyond what it holds now, by its descriptors. */
function holders(target: Target): () => number[] {
  const descriptorsOf = (pid: number) => usageOf(pid)?.descriptors ?? 0;
  const before = new Map(target.pids().map((pid) => [pid, descriptorsOf(pid)]));
  return () => [...before].map(([pid, descriptors]) => descriptorsOf(pid) - descriptors);
}

function imbalanceOf(held: readonly number[]): number {
  const holding = held.filter((connections) => connections > 0);
  return Math.max(...holding) / (holding.reduce((sum, connections) => sum + connections, 0) / holding.length);
}

function enterRounds({ measured }: Run, name: string, rounds: readonly Round[]): void {
  if (!rounds.every(({ perConnection }) => Number.isFinite(perConnection))) return;
  const each = (value: (round: Round) => number) => rounds.map(value);
  measured.median(
    'memory.perConnection',
    'B',
    each((r) => r.perConnection),
    name,
    'lower',
  );
  measured.median(
    'memory.perProcess',
    'B',
    each((r) => r.before.rssBytes / r.processes),
    name,
    'lower',
  );
  measured.median(
    'memory.before',
    'B',
    each((r) => r.before.rssBytes),
    name,
  );
  measured.median(
    'memory.held',
    'B',
    each((r) => r.held.rssBytes),
    name,
    'lower',
  );
  measured.median(
    'memory.after',
    'B',
    each((r) => r.after.rssBytes),
    name,
    'lower',
  );
  measured.median(
    'descriptors.held',
    '{descriptor}',
    each((r) => r.held.descriptors),
    name,
  );
  measured.median(
    'descriptors.after',
    '{descriptor}',
    each((r) => r.after.descriptors),
    name,
    'lower',
  );
  measured.median(
    'balance.busiest',
    '1',
    each((r) => r.imbalance),
    name,
    'lower',
  );
  measured.median(
    'idle.cpu',
    '%',
    each((r) => r.idleCpuPercent),
    name,
    'lower',
  );
}
