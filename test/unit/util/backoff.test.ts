import { describe, expect, test } from 'vitest';
import { Backoff } from '../../../src/util/backoff.ts';

/** The waits of failures in a row. */
function waits(backoff: Backoff, count: number): number[] {
  return Array.from({ length: count }, () => backoff.nextMs());
}

describe('the wait after a failure', () => {
  test('is bounded by a value that doubles up to a cap', () => {
    const almostOne = () => 1 - Number.EPSILON / 2;
    expect(waits(new Backoff(100, 1_000, almostOne), 6).map(Math.round)).toEqual([
      100, 200, 400, 800, 1_000, 1_000,
    ]);
  });

  test('lies anywhere between nothing and its bound', () => {
    expect(waits(new Backoff(100, 1_000, () => 0), 5)).toEqual([0, 0, 0, 0, 0]);
    const draws = Array.from({ length: 10_000 }, () => new Backoff(1_000, 9_000).nextMs());
    expect(draws.filter((draw) => draw < 0 || draw >= 1_000)).toEqual([]);
    for (const tenth of Array.from({ length: 10 }, (_, n) => n * 100)) {
      const share = draws.filter((draw) => draw >= tenth && draw < tenth + 100).length / draws.length;
      expect(share).toBeGreaterThan(0.07);
      expect(share).toBeLessThan(0.13);
    }
  });

  test('never exceeds the cap, after however many failures', () => {
    const backoff = new Backoff(1, 15_000);
    expect(waits(backoff, 5_000).filter((wait) => !(wait >= 0 && wait <= 15_000))).toEqual([]);
    expect(backoff.failures).toBe(5_000);
  });

  test('begins anew after a reset', () => {
    const backoff = new Backoff(100, 1_000, () => 0.5);
    expect(waits(backoff, 3)).toEqual([50, 100, 200]);
    backoff.reset();
    expect(backoff.failures).toBe(0);
    expect(waits(backoff, 2)).toEqual([50, 100]);
  });

  test('is bounded by the cap where that is less than the first bound', () => {
    expect(waits(new Backoff(500, 200, () => 0.5), 2)).toEqual([100, 100]);
  });
});
