import type { BenchResult } from '../report/result.ts';

/** A figure of a result that says what something costs. */
export interface Reading {
  readonly metric: string;
  readonly target: string;
  /** How many of the thing are in one of what the metric counts. Default: 1. */
  readonly holds?: number;
  /** The run has to have had this share of resumed handshakes. */
  readonly resume?: 0 | 1;
}

interface CostSource {
  /** Of the model. Times are read in any unit. */
  readonly unit: string;
  readonly meaning: string;
  /** The first one that a result has counts. */
  readonly readings: readonly Reading[];
  readonly assumed: number;
  /** What the assumed value comes from. */
  readonly basis: string;
}

/**
 * What one of each costs, as the model needs it. A result file brings a cost as one of the readings; what no file
 * brings is assumed, and marked so.
 */
export const COST_SOURCES = {
  fullHandshakeUs: {
    readings: [{ metric: 'handshake.cpu', target: 'owsla', resume: 0 }],
    unit: 'us',
    meaning: 'gateway CPU of a full TLS handshake, accept to established',
    assumed: 575,
    basis: 'target: 1.15 × bare Node tls, which takes 0.50 ms',
  },
  resumedHandshakeUs: {
    readings: [
      { metric: 'handshake.resumed.cpu', target: 'owsla' },
      { metric: 'handshake.cpu', target: 'owsla', resume: 1 },
    ],
    unit: 'us',
    meaning: 'gateway CPU of a resumed TLS handshake',
    assumed: 460,
    basis: 'guess: 0.8 of a full one',
  },
  lineUs: {
    readings: [{ metric: 'line.cpu', target: 'owsla' }],
    unit: 'us',
    meaning: 'gateway CPU of a line in: read, framed, published, confirmed',
    assumed: 30,
    basis: 'guess: the larger part of a round trip',
  },
  roundTripUs: {
    readings: [
      { metric: 'roundTrip.cpu', target: 'owsla' },
      { metric: 'rtt.cpu', target: 'owsla' },
    ],
    unit: 'us',
    meaning: 'gateway CPU of a line in and its reply out; a reply costs this less a line',
    assumed: 53,
    basis: 'target: half of the Erlang rebuild at 5,000 lines/s',
  },
  eventUs: {
    readings: [{ metric: 'event.cpu', target: 'owsla' }],
    unit: 'us',
    meaning: 'gateway CPU of a lifecycle event; a connection has two',
    assumed: 20,
    basis: 'guess: twice a publish with confirm, which takes 10 µs',
  },
  forwardUs: {
    readings: [{ metric: 'forward.cpu', target: 'owsla' }],
    unit: 'us',
    meaning: 'gateway CPU of handing a reply on to the node that owns its connection',
    assumed: 30,
    basis: 'guess: as much as a line',
  },
  connectionBytes: {
    readings: [{ metric: 'memory.perConnection', target: 'owsla' }],
    unit: 'B',
    meaning: 'memory of an idle connection',
    assumed: 34_200,
    basis: 'target: 0.95 × nginx stream, which takes 36 KB',
  },
  processBytes: {
    readings: [{ metric: 'memory.perProcess', target: 'owsla' }],
    unit: 'B',
    meaning: 'memory of a gateway process without connections',
    assumed: 120_000_000,
    basis: 'guess',
  },
  messageUs: {
    readings: [
      { metric: 'message.cpu', target: 'broker' },
      { metric: 'line.cpu', target: 'broker' },
      { metric: 'rtt.cpu', target: 'broker', holds: 2 },
    ],
    unit: 'us',
    meaning: 'broker CPU of one message through one queue, on the node that leads the queue',
    assumed: 50,
    basis: 'guess',
  },
  replicaUs: {
    readings: [{ metric: 'message.replica.cpu', target: 'broker' }],
    unit: 'us',
    meaning: 'broker CPU of one message on each further node that keeps a copy',
    assumed: 25,
    basis: 'guess: half of what the leader spends',
  },
  queueRate: {
    readings: [{ metric: 'queue.rate', target: 'broker' }],
    unit: '1/s',
    meaning: 'messages that one queue, which is one process of the broker, takes in and gives out',
    assumed: 25_000,
    basis: 'guess: a third of what a quorum queue takes in with a wide window, 70,000/s',
  },
} as const satisfies Record<string, CostSource>;

export type CostName = keyof typeof COST_SOURCES;

/** Values by name, in the units that the names end with. */
export type UnitCosts = Readonly<Record<CostName, number>>;

export interface CostedFrom {
  readonly costs: UnitCosts;
  /** The file that a cost was measured in; nothing where it is assumed. */
  readonly files: Readonly<Partial<Record<CostName, string>>>;
  /** What speaks against the files, one line each. */
  readonly warnings: readonly string[];
}

export const COST_NAMES = Object.keys(COST_SOURCES) as CostName[];

export const ASSUMED_COSTS = Object.fromEntries(
  COST_NAMES.map((name) => [name, COST_SOURCES[name].assumed]),
) as UnitCosts;

/**
 * Unit costs from results; of several files that have the same one, the last counts.
 * @throws Error with one line when a metric has another unit or is not a positive number
 */
export function unitCosts(results: readonly { file: string; result: BenchResult }[]): CostedFrom {
  const costs: Record<CostName, number> = { ...ASSUMED_COSTS };
  const files: Partial<Record<CostName, string>> = {};
  const warnings: string[] = [];
  for (const { file, result } of results) {
    const found = COST_NAMES.filter((name) => {
      const value = findCost(name, result, file);
      if (value === undefined) return false;
      costs[name] = value;
      files[name] = file;
      return true;
    });
    if (found.length === 0) warnings.push(`${file} has none of the unit costs`);
    for (const problem of result.problems) warnings.push(`${file} is of a run with a problem: ${problem}`);
  }
  if (costs.roundTripUs < costs.lineUs) {
    warnings.push('a line costs more than a round trip: one of them is off, and a reply counts as free');
  }
  return { costs, files, warnings };
}

function findCost(name: CostName, result: BenchResult, file: string): number | undefined {
  const { readings, unit }: CostSource = COST_SOURCES[name];
  for (const { metric, target, holds = 1, resume } of readings) {
    if (resume !== undefined && (result.options.resume ?? 0) !== resume) continue;
    const found = result.metrics.find((entry) => entry.name === metric && entry.target === target);
    if (found === undefined) continue;
    const factor =
      found.unit === unit ? 1 : (US_PER[found.unit] ?? Number.NaN) / (US_PER[unit] ?? Number.NaN);
    if (Number.isNaN(factor)) throw new Error(`${file}: ${metric} is in ${found.unit}; expected ${unit}`);
    if (!(found.value > 0)) throw new Error(`${file}: ${metric} is ${found.value}; expected more than 0`);
    return (found.value * factor) / holds;
  }
  return undefined;
}

const US_PER: Readonly<Record<string, number>> = { us: 1, ms: 1_000, s: 1_000_000 };

/** `rtt.cpu of broker, for 2` */
export function describeReading({ metric, target, holds, resume }: Reading): string {
  const condition = resume === 1 ? ', run with --resume 1' : '';
  return `\`${metric}\` of \`${target}\`${holds === undefined ? '' : `, for ${holds}`}${condition}`;
}
