import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type RetryPolicy, retryWaitMs } from '../../../../bench/fleet/retry-policy.ts';

const EXPONENTIAL: RetryPolicy = { kind: 'exponential', minMs: 1_000, maxMs: 30_000, limit: 0 };

describe('retryWaitMs', () => {
  test('none gives up at once', () => {
    expect(retryWaitMs({ ...EXPONENTIAL, kind: 'none' }, 1)).toBeUndefined();
  });

  test('fixed waits the same each time', () => {
    expect([1, 2, 9].map((n) => retryWaitMs({ ...EXPONENTIAL, kind: 'fixed' }, n))).toEqual([
      1_000, 1_000, 1_000,
    ]);
  });

  test('the bound of an exponential wait doubles up to the cap', () => {
    const bounds = [1, 2, 3, 5, 6, 50].map((failures) => retryWaitMs(EXPONENTIAL, failures, () => 1));
    expect(bounds).toEqual([1_000, 2_000, 4_000, 16_000, 30_000, 30_000]);
  });

  test('the jitter is full: anything from nothing to the bound', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (failures, r) => {
          const bound = Math.min(30_000, 1_000 * 2 ** (failures - 1));
          expect(retryWaitMs(EXPONENTIAL, failures, () => r)).toBe(r * bound);
        },
      ),
    );
  });

  test('a limit counts attempts after the first', () => {
    const limited = { ...EXPONENTIAL, limit: 2 };
    expect(retryWaitMs(limited, 2)).toBeDefined();
    expect(retryWaitMs(limited, 3)).toBeUndefined();
  });
});
