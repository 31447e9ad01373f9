import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RampSearch } from '../../../../bench/scenarios/ramp-search.ts';

/** Searches a system that holds every rate up to `limit`; returns the rates tried. */
function tried(search: RampSearch, limit: number): number[] {
  const rates: number[] = [];
  for (let rate = search.next; rate !== undefined; rate = search.next) {
    rates.push(rate);
    search.record(rate <= limit);
  }
  return rates;
}

describe('RampSearch', () => {
  test('goes up by the factor, then in between', () => {
    const search = new RampSearch(100, 2, 0.5);
    expect(tried(search, 500).map(Math.round)).toEqual([100, 200, 400, 800, 566]);
    expect(search.best).toBe(400);
  });

  test('goes down where already the first rate does not hold', () => {
    const search = new RampSearch(100, 2, 0.1);
    tried(search, 30);
    expect(search.best).toBeGreaterThan(25);
    expect(search.best).toBeLessThanOrEqual(30);
  });

  test('gives up where nothing holds', () => {
    const search = new RampSearch(100, 2, 0.1);
    expect(tried(search, 0).length).toBeLessThan(10);
    expect(search.best).toBe(0);
  });

  test('comes as close as it promises, in few steps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 10, max: 1_000_000 }),
        fc.integer({ min: 1, max: 10_000 }),
        (limit, start) => {
          const search = new RampSearch(start, 1.5, 0.1);
          const rates = tried(search, limit);
          expect(search.best).toBeLessThanOrEqual(limit);
          expect(search.best * 1.1).toBeGreaterThanOrEqual(limit * 0.999);
          expect(rates.length).toBeLessThan(45);
        },
      ),
    );
  });
});
