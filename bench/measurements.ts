import type { LatencyBook } from './fleet/latency-book.ts';
import type { LatencyHistogram, Metric, Series, Span } from './report/result.ts';

/** Collects what a scenario measures, in the form that a result keeps. */
export class Measurements {
  readonly metrics: Metric[] = [];
  readonly histograms: LatencyHistogram[] = [];
  readonly spans: Span[] = [];
  readonly versions: Record<string, string> = {};
  readonly notes: string[] = [];
  readonly problems: string[] = [];
  readonly #series = new Map<string, Series & { points: (readonly [number, number])[] }>();

  metric(
    name: string,
    unit: string,
    value: number,
    target: string,
    better?: 'lower' | 'higher',
    spread?: readonly [number, number],
  ): void {
    this.metrics.push({
      name,
      unit,
      value: rounded(value),
      target,
      ...(better === undefined ? {} : { better }),
      ...(spread === undefined ? {} : { spread: [rounded(spread[0]), rounded(spread[1])] as const }),
    });
  }

  /** The median of several rounds, with least and greatest; one round alone has no spread. */
  median(
    name: string,
    unit: string,
    values: readonly number[],
    target: string,
    better?: 'lower' | 'higher',
  ): void {
    const spread = values.length > 1 ? ([Math.min(...values), Math.max(...values)] as const) : undefined;
    this.metric(name, unit, medianOf(values), target, better, spread);
  }

  /** Percentiles as figures, and the curve. Nothing where nothing was recorded. */
  latency(name: string, book: LatencyBook, recorded: string, target: string): void {
    const histogram = book.result(recorded, target, name);
    if (histogram === undefined) return;
    for (const percentile of [50, 90, 99, 99.9]) {
      const value = book.percentileMs(recorded, percentile);
      this.metric(`${name}.p${percentile}`, 'ms', value, target, 'lower');
    }
    this.metric(`${name}.max`, 'ms', book.maxMs(recorded), target);
    this.histograms.push(histogram);
  }

  get series(): Series[] {
    return [...this.#series.values()];
  }

  /** What has the same name and target follows in time: rounds, restarts. */
  addSeries({ name, unit, target, points }: Series): void {
    const key = `${name} ${target}`;
    const earlier = this.#series.get(key);
    if (earlier === undefined) this.#series.set(key, { name, unit, target, points: [...points] });
    else for (const point of points) earlier.points.push(point);
  }

  version(program: string, version: string): void {
    if (version !== '') this.versions[program] = version;
  }

  note(text: string): void {
    this.notes.push(text);
  }

  /** Why the run is not to be trusted, or not passed. */
  problem(text: string): void {
    this.problems.push(text);
  }
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Five digits say more than any of these figures knows. */
function rounded(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(5));
}
