import { Meter } from '../accounting/meter.ts';
import { type Measurements, medianOf } from '../measurements.ts';
import { PEER_NAMES, type PeerName, startPeer } from '../peers/peer.ts';
import type { Run } from '../run.ts';
import type { Site } from '../site.ts';
import { workersFor } from '../target/gateway.ts';
import type { Target } from '../target/target.ts';

/** Options of scenarios that compare with peers. */
export const contenderOptions = {
  vs: {
    kind: 'list',
    shape: 'PEER',
    choices: PEER_NAMES,
    default: [],
    help: 'Programs to measure in turn with the target (A B A B); ratios go into the result.',
  },
  rounds: { kind: 'count', default: 0, help: 'Rounds of each; 0: one, and three with --vs.' },
} as const;

/** Who takes part: the target first, then the peers. */
export interface Contender {
  readonly name: string;
  start(): Promise<Contestant>;
}

/** One that runs. */
export interface Contestant {
  readonly target: Target;
  readonly meter: Meter;
  stop(): Promise<void>;
}

/** @param connections that each has to hold */
export function contenders(
  run: Run,
  site: Site,
  options: { vs: readonly string[]; target: string | undefined; workers: number },
  connections: number,
): Contender[] {
  const own = options.target === undefined ? 'owsla' : 'target';
  return [
    { name: own, start: async () => contestant(run, await site.startTarget(connections)) },
    ...options.vs.map((name) => ({
      name,
      start: async () => {
        run.say(`starting ${name}`);
        const workers = options.workers || workersFor(connections);
        const starting = startPeer(name as PeerName, site.certificates, {
          workers,
          maxConnections: connections,
          launcher: site.launcher,
        });
        return contestant(run, await run.own(starting));
      },
    })),
  ];
}

function contestant(run: Run, target: Target): Contestant {
  const meter = new Meter(target.name, () => target.pids());
  run.sampler.watch(meter);
  run.measured.version(target.name, target.version);
  for (const note of target.notes ?? []) {
    const text = `${target.name}: ${note}`;
    if (!run.measured.notes.includes(text)) run.measured.note(text);
  }
  return {
    target,
    meter,
    stop: async () => {
      run.sampler.unwatch(meter);
      await run.end(target);
    },
  };
}

export function roundsOf(options: { vs: readonly string[]; rounds: number }): number {
  return options.rounds || (options.vs.length > 0 ? 3 : 1);
}

/** The ratio of the medians of a figure, with the least and greatest ratio of single rounds. */
export function enterRatio(
  measured: Measurements,
  name: string,
  own: { name: string; values: readonly number[] },
  peer: { name: string; values: readonly number[] },
): void {
  const rounds = own.values.map((value, i) => value / peer.values[i]!);
  if (rounds.length === 0 || !rounds.every(Number.isFinite)) return;
  const spread = rounds.length > 1 ? ([Math.min(...rounds), Math.max(...rounds)] as const) : undefined;
  const ratio = medianOf(own.values) / medianOf(peer.values);
  measured.metric(`${name}.ratio`, '1', ratio, `${own.name}/${peer.name}`, 'lower', spread);
}
