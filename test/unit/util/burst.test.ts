import { describe, expect, test } from 'vitest';
import { Burst } from '../../../src/util/burst.ts';

/** Feeds counts, one for each second, and returns the seconds after which the burst is over. */
function secondsOver(counts: readonly number[]): number[] {
  const burst = new Burst(100, 10, 3_000, 0);
  return counts.flatMap((count, second) => {
    for (let n = 0; n < count; n++) burst.add();
    return burst.isOver((second + 1) * 1_000) ? [second + 1] : [];
  });
}

describe('a burst is over', () => {
  test.each([
    ['once it has been quiet for long enough', [200, 0, 0, 0, 0, 0, 0], [4]],
    ['although a little goes on', [200, 10, 10, 10, 10], [4]],
    ['not while much goes on', [200, 11, 11, 11, 11], []],
    ['not when it was none', [99, 0, 0, 0, 0], []],
    ['when little things have added up', [...Array(12).fill(9)], [12]],
    ['once for each', [200, 0, 0, 0, 0, 200, 0, 0, 0, 0], [4, 9]],
  ])('%s', (_, counts, over) => {
    expect(secondsOver(counts)).toEqual(over);
  });
});
