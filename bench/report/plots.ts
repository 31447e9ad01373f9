import { targetsOf } from './figures.ts';
import { labelled, scaleOf } from './format.ts';
import type { BenchResult, LatencyHistogram, Series } from './result.ts';

/** One plot of the page: a line per target over a common x, as uPlot takes them. */
export interface Plot {
  readonly title: string;
  /** `percentile`: x is `tailPosition(percentile)`; `time`: x is in seconds since the start. */
  readonly kind: 'percentile' | 'time';
  readonly xLabel: string;
  readonly yLabel: string;
  /** Logarithmic where the values span orders of magnitude, so that the small ones still show. */
  readonly yScale: 'linear' | 'log';
  /** Which of the page's colours each line has: a target keeps its own in all plots. */
  readonly lines: readonly { readonly label: string; readonly color: number }[];
  /** The x values, then those of each line. */
  readonly data: readonly (readonly (number | null)[])[];
}

const LOG_FROM_RATIO = 50;

/** Latencies first, then what went over time. */
export function plotsOf(result: BenchResult): Plot[] {
  const targets = targetsOf(result);
  return [
    ...groups(result.histograms, ({ name }) => name).map((group) => percentilePlot(group, targets)),
    ...groups(result.series, ({ name, unit }) => JSON.stringify([name, unit])).map((group) =>
      timePlot(group, targets),
    ),
  ];
}

/**
 * Where a percentile stands on an axis that gives each further nine the same room: 90 at 1, 99 at 2, 99.9 at 3.
 * 100 has no place on it.
 */
export function tailPosition(percentile: number): number {
  return Math.log10(1 / (1 - percentile / 100));
}

function percentilePlot(group: readonly LatencyHistogram[], targets: readonly string[]): Plot {
  const curves = group.map(({ percentiles }) =>
    percentiles
      .filter(([percentile]) => percentile >= 0 && percentile < 100)
      .map(([percentile, ms]) => [tailPosition(percentile), ms] as const),
  );
  const values = curves.flatMap((curve) => curve.map(([, ms]) => ms));
  const scale = scaleOf('ms', values);
  return {
    title: group[0]!.name,
    kind: 'percentile',
    xLabel: 'percentile',
    yLabel: `latency, ${scale.label}`,
    yScale: spansMagnitudes(values) ? 'log' : 'linear',
    lines: linesOf(group, targets),
    data: align(curves, scale.divisor),
  };
}

function timePlot(group: readonly Series[], targets: readonly string[]): Plot {
  const { name, unit } = group[0]!;
  const values = group.flatMap(({ points }) => points.map(([, value]) => value));
  const scale = scaleOf(unit, values);
  return {
    title: name,
    kind: 'time',
    xLabel: 'time, s',
    yLabel: labelled(name, scale.label),
    yScale: unit === 'ms' && spansMagnitudes(values) ? 'log' : 'linear',
    lines: linesOf(group, targets),
    data: align(
      group.map(({ points }) => points),
      scale.divisor,
    ),
  };
}

function groups<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const found = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    found.set(key, [...(found.get(key) ?? []), item]);
  }
  return [...found.values()];
}

function linesOf(group: readonly { target: string }[], targets: readonly string[]): Plot['lines'] {
  return group.map(({ target }) => ({ label: target, color: targets.indexOf(target) }));
}

/** A logarithmic axis has no place for zero. */
function spansMagnitudes(values: readonly number[]): boolean {
  let least = Number.POSITIVE_INFINITY;
  let greatest = 0;
  for (const value of values) {
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
  }
  return least > 0 && greatest / least >= LOG_FROM_RATIO;
}

/** Curves with x values of their own, put on those of all of them; `null` where a curve has no point. */
function align(curves: readonly (readonly (readonly [number, number])[])[], divisor: number): Plot['data'] {
  const xs = [...new Set(curves.flatMap((curve) => curve.map(([x]) => x)))].sort((a, b) => a - b);
  return [
    xs,
    ...curves.map((curve) => {
      const byX = new Map(curve);
      return xs.map((x) => {
        const y = byX.get(x);
        return y === undefined || !Number.isFinite(y) ? null : y / divisor;
      });
    }),
  ];
}
