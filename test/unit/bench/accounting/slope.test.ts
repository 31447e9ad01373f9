import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { slopeOf } from '../../../../bench/accounting/slope.ts';

describe('slopeOf', () => {
  test('finds the slope of a line', () => {
    const points = fc.uniqueArray(fc.integer({ min: -1_000, max: 1_000 }), { minLength: 2, maxLength: 50 });
    fc.assert(
      fc.property(points, fc.integer({ min: -50, max: 50 }), fc.integer(), (xs, slope, offset) => {
        expect(slopeOf(xs.map((x) => [x, slope * x + (offset % 1_000)]))).toBeCloseTo(slope, 6);
      }),
    );
  });

  test('is flat for noise around a level, and without points', () => {
    expect(
      slopeOf([
        [0, 1],
        [1, -1],
        [2, -1],
        [3, 1],
      ]),
    ).toBeCloseTo(0);
    expect(slopeOf([])).toBe(0);
    expect(slopeOf([[1, 5]])).toBe(0);
    expect(
      slopeOf([
        [1, 5],
        [1, 9],
      ]),
    ).toBe(0);
  });
});
