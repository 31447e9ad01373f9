import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { plotsOf, tailPosition } from '../../../../bench/report/plots.ts';
import { benchResult } from '../../../helpers/bench-result.ts';

describe('the plots of a result', () => {
  test('are one for each histogram name and each series name and unit', () => {
    expect(plotsOf(benchResult()).map(({ kind, title, yLabel }) => [kind, title, yLabel])).toEqual([
      ['percentile', 'handshake', 'latency, ms'],
      ['time', 'connect.rate', 'connect.rate, /s'],
      ['time', 'handshake.p99', 'handshake.p99, ms'],
      ['time', 'memory', 'memory, MiB'],
      ['time', 'cpu', 'cpu, %'],
    ]);
  });

  test('give a target the same colour everywhere', () => {
    const colors = new Map<string, number>();
    for (const { lines } of plotsOf(benchResult())) {
      for (const { label, color } of lines) {
        expect(colors.get(label) ?? color).toBe(color);
        colors.set(label, color);
      }
    }
    expect(new Set(colors.values()).size).toBe(colors.size);
  });

  test('give each further nine the same room, and leave out 100', () => {
    expect([0, 90, 99, 99.9].map((percentile) => Math.round(tailPosition(percentile) * 1e6) / 1e6)).toEqual([
      0, 1, 2, 3,
    ]);
    const [histogram] = benchResult().histograms;
    const percentiles = [[50, 1] as const, [100, 9] as const];
    const [plot] = plotsOf(benchResult({ histograms: [{ ...histogram!, percentiles }] }));
    expect(plot!.data).toEqual([[tailPosition(50)], [1]]);
  });

  test('show values over orders of magnitude on a logarithmic axis, unless there is a zero', () => {
    const latency = (values: number[]) =>
      plotsOf(
        benchResult({
          histograms: [],
          series: [{ name: 'p99', unit: 'ms', target: 'owsla', points: values.map((ms, s) => [s, ms]) }],
        }),
      )[0]!.yScale;
    expect(latency([1, 200])).toBe('log');
    expect(latency([1, 20])).toBe('linear');
    expect(latency([0, 200])).toBe('linear');
  });

  test('keep every point of every line, on rising x', () => {
    const points = fc.uniqueArray(fc.tuple(fc.nat(50), fc.integer({ min: -1_000, max: 1_000 })), {
      selector: ([second]) => second,
    });
    fc.assert(
      fc.property(fc.array(points, { minLength: 1, maxLength: 4 }), (lines) => {
        const series = lines.map((points, index) => ({
          name: 'any',
          unit: '%',
          target: `target ${index}`,
          points,
        }));
        const [plot] = plotsOf(benchResult({ metrics: [], histograms: [], series }));
        const [xs, ...ys] = plot!.data;
        expect(xs).toEqual([...new Set(xs)].sort((a, b) => a! - b!));
        for (const [index, points] of lines.entries()) {
          const kept = xs!.flatMap((x, at) => (ys[index]![at] === null ? [] : [[x, ys[index]![at]]]));
          expect(kept).toEqual([...points].sort(([a], [b]) => a - b));
        }
      }),
    );
  });
});
