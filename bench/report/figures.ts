import { formatNumber, type Scale, scaleOf } from './format.ts';
import type { BenchResult, LatencyHistogram, Metric } from './result.ts';

/** A figure of several targets, to be read across. */
export interface FigureRow {
  readonly name: string;
  readonly unit: string;
  readonly better: Metric['better'];
  readonly scale: Scale;
  readonly byTarget: ReadonlyMap<string, Metric>;
}

/** Names of all targets that anything was measured of, in order of appearance. */
export function targetsOf(result: BenchResult): string[] {
  const all = [...result.metrics, ...result.histograms, ...result.series];
  return [...new Set(all.map(({ target }) => target))];
}

/** Metrics by name and unit, in order of appearance. */
export function figureRows(metrics: readonly Metric[]): FigureRow[] {
  const groups = new Map<string, Metric[]>();
  for (const metric of metrics) {
    const key = JSON.stringify([metric.name, metric.unit]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [metric]);
    else group.push(metric);
  }
  return [...groups.values()].map((group) => ({
    name: group[0]!.name,
    unit: group[0]!.unit,
    better: group.find(({ better }) => better !== undefined)?.better,
    scale: scaleOf(
      group[0]!.unit,
      group.map(({ value }) => value),
    ),
    byTarget: new Map(group.map((metric) => [metric.target, metric])),
  }));
}

export function isRatio({ unit }: { readonly unit: string }): boolean {
  return unit === '1';
}

/** Figures as cells: name, unit, then one for each target that has any of them. */
export function figureCells(rows: readonly FigureRow[]): {
  targets: string[];
  isSpread: boolean;
  cells: string[][];
} {
  const targets = [...new Set(rows.flatMap(({ byTarget }) => [...byTarget.keys()]))];
  return {
    targets,
    isSpread: rows.some(({ byTarget }) => [...byTarget.values()].some(({ spread }) => spread !== undefined)),
    cells: rows.map(({ name, scale, byTarget }) => [
      name,
      scale.label,
      ...targets.map((target) => formatCell(byTarget.get(target), scale)),
    ]),
  };
}

/** `412 (400–431)` */
function formatCell(metric: Metric | undefined, { divisor }: Scale): string {
  if (metric === undefined) return '';
  const value = formatNumber(metric.value / divisor);
  if (metric.spread === undefined) return value;
  const [least, greatest] = metric.spread;
  return `${value} (${formatNumber(least / divisor)}–${formatNumber(greatest / divisor)})`;
}

const TABLE_PERCENTILES = [50, 90, 99, 99.9, 99.99];

/** Titles of `latencyCells`, without that of the name. */
export const LATENCY_TITLES = ['target', 'count', ...TABLE_PERCENTILES.map((at) => `p${at}`), 'max'];

/** One histogram as cells: name, then as `LATENCY_TITLES` says, in milliseconds. */
export function latencyCells({ name, target, count, percentiles, maxMs }: LatencyHistogram): string[] {
  const values = TABLE_PERCENTILES.map((at) => valueAt(percentiles, at) ?? Number.NaN);
  return [name, target, ...[count, ...values, maxMs].map(formatNumber)];
}

/** Value of a curve at a percentile: that of the first point at or above it. */
function valueAt(
  percentiles: readonly (readonly [number, number])[],
  percentile: number,
): number | undefined {
  // Sums of float steps may come out a hair below the percentile they mean.
  return percentiles.find(([at]) => at >= percentile - 1e-9)?.[1];
}
