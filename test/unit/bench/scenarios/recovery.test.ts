import { describe, expect, test } from 'vitest';
import { recoveredAt, worstP99Ms } from '../../../../bench/scenarios/recovery.ts';

/** A point a second, from second 1. */
const points = (...p99s: number[]) =>
  p99s.map((rttP99Ms, i) => ({ second: i + 1, repliesPerS: rttP99Ms > 0 ? 10 : 0, rttP99Ms }));

describe('recoveredAt', () => {
  test('is the first of five seconds most of which are good', () => {
    expect(recoveredAt(points(90, 90, 5, 5, 90, 5, 5, 5), 0, 10)).toBe(3);
  });

  test('is not made by a single good second, nor unmade by a single bad one', () => {
    expect(recoveredAt(points(5, 90, 90, 90, 90, 5, 5, 90, 5, 5), 0, 10)).toBe(6);
  });

  test('needs replies', () => {
    expect(recoveredAt(points(0, 0, 0, 0, 0), 0, 10)).toBeUndefined();
  });

  test('looks at nothing from before, and waits for the whole window', () => {
    expect(recoveredAt(points(5, 5, 5, 5, 5, 5), 3, 10)).toBeUndefined();
    expect(recoveredAt(points(5, 5, 5, 5, 5, 5, 5, 5), 3, 10)).toBe(4);
  });
});

test('worstP99Ms is that of the worst second between two moments', () => {
  expect(worstP99Ms(points(9, 3, 7, 8), 1, 3)).toBe(7);
  expect(worstP99Ms([], 0, 9)).toBe(0);
});
