import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LatencyBook } from '../../../../bench/fleet/latency-book.ts';

function bookOf(values: readonly number[]): LatencyBook {
  const book = new LatencyBook();
  for (const ms of values) book.record('rtt', ms);
  return book;
}

const latencies = fc.array(fc.double({ min: 0.001, max: 600_000, noNaN: true }), { maxLength: 200 });

describe('LatencyBook', () => {
  test('knows percentiles to a thousandth', () => {
    const book = bookOf(Array.from({ length: 1_000 }, (_, i) => i + 1));
    expect(book.percentileMs('rtt', 50)).toBeCloseTo(500, -1);
    expect(book.percentileMs('rtt', 99)).toBeGreaterThanOrEqual(990 * 0.999);
    expect(book.percentileMs('rtt', 99)).toBeLessThanOrEqual(990 * 1.001);
    expect(book.maxMs('rtt')).toBeCloseTo(1_000, 0);
  });

  test('parts that were encoded and added are the whole, to the precision of the histogram', () => {
    fc.assert(
      fc.property(fc.array(latencies, { maxLength: 5 }), (parts) => {
        const whole = bookOf(parts.flat());
        const sum = new LatencyBook();
        for (const part of parts) sum.add(bookOf(part).encode());
        expect(sum.count('rtt')).toBe(whole.count('rtt'));
        const same = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThanOrEqual(b / 500);
        for (const percentile of [0, 50, 90, 99, 99.9, 100])
          same(sum.percentileMs('rtt', percentile), whole.percentileMs('rtt', percentile));
        same(sum.maxMs('rtt'), whole.maxMs('rtt'));
      }),
      { numRuns: 20 },
    );
  });

  test('merging is adding', () => {
    const sum = bookOf([1, 2]);
    sum.merge(bookOf([3]));
    expect(sum.count('rtt')).toBe(3);
    expect(sum.maxMs('rtt')).toBeCloseTo(3, 2);
  });

  test('is empty again after a reset', () => {
    const book = bookOf([1]);
    book.reset();
    expect(book.encode()).toEqual({});
    expect(book.result('rtt', 'owsla')).toBeUndefined();
  });

  test('makes a rising curve', () => {
    const { percentiles, count } = bookOf([5, 1, 9, 3]).result('rtt', 'owsla', 'round trip')!;
    expect(count).toBe(4);
    for (const [i, [percentile, ms]] of percentiles.entries()) {
      if (i === 0) continue;
      expect(percentile).toBeGreaterThan(percentiles[i - 1]![0]);
      expect(ms).toBeGreaterThanOrEqual(percentiles[i - 1]![1]);
    }
  });

  test('takes nonsense for the nearest thing that it can keep', () => {
    const book = bookOf([-5, 0, 1e12]);
    expect(book.count('rtt')).toBe(3);
    expect(book.percentileMs('rtt', 1)).toBe(0.001);
  });
});
