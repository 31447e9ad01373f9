import { expect, test } from 'vitest';
import { Digest } from '../../../src/util/digest.ts';

test('the first is told of at once, then all of a quiet time together', () => {
  const digest = new Digest(100);
  expect([10, 20, 109].map((nowMs) => digest.add(nowMs))).toEqual([1, 0, 0]);
  expect(digest.add(110)).toBe(3);
  expect([150, 210].map((nowMs) => digest.add(nowMs))).toEqual([0, 2]);
  expect(digest.add(1_000)).toBe(1);
});
