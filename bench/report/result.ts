/** What one run of the harness measured: what `--json` writes, and what tables, pages and comparisons are made of. */
export interface BenchResult {
  readonly schema: 1;
  /** Name of the scenario, for example `connect`. */
  readonly scenario: string;
  /** The command as it was typed. */
  readonly command: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationS: number;
  readonly machine: Machine;
  /** Version of each program that took part, by its name: `owsla`, `node`, `rabbitmq`, `nginx`, … */
  readonly versions: Readonly<Record<string, string>>;
  /** The options of the run, defaults included. */
  readonly options: Readonly<Record<string, string | number | boolean>>;
  readonly metrics: readonly Metric[];
  readonly histograms: readonly LatencyHistogram[];
  readonly series: readonly Series[];
  /** Stretches of the run that a plot can be laid out by, for example `storm`. */
  readonly spans?: readonly Span[];
  /** What a reader has to know to judge the figures: the harness's own cost, what was noticed. */
  readonly notes: readonly string[];
  /** Why the run is not to be trusted or not passed: lines lost, load not reached. Empty for a good run. */
  readonly problems: readonly string[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
}

/** One figure. Several with the same name differ in `target`. */
export interface Metric {
  /** In dotted words, for example `handshake.cpu` or `memory.perConnection`. */
  readonly name: string;
  /** UCUM-like: `ms`, `us`, `B`, `1/s`, `1` for a ratio, `%`, or a noun in braces: `{connection}`. */
  readonly unit: string;
  readonly value: number;
  /** Who it is of: `owsla`, a peer's name, `broker`, `harness`. */
  readonly target: string;
  /** Which way is good; left out where neither is, so that a comparison does not judge it. */
  readonly better?: 'lower' | 'higher';
  /** Least and greatest of the rounds that `value` is the median of. */
  readonly spread?: readonly [number, number];
}

/** Latencies in milliseconds. */
export interface LatencyHistogram {
  readonly name: string;
  readonly target: string;
  readonly count: number;
  readonly maxMs: number;
  /** `[percentile, milliseconds]`, rising, enough of them to draw the curve up to 99.99. */
  readonly percentiles: readonly (readonly [number, number])[];
}

/** A figure over time. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly target: string;
  /** `[seconds since the start, value]`, rising. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Span {
  readonly name: string;
  /** Seconds since the start. */
  readonly fromS: number;
  readonly toS: number;
}
