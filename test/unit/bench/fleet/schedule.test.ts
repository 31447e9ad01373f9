import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Schedule, shareOf } from '../../../../bench/fleet/schedule.ts';

/** Takes all that is due. */
function takeAll(schedule: Schedule, nowMs: number): number[] {
  const taken: number[] = [];
  for (let at = schedule.take(nowMs); at !== undefined; at = schedule.take(nowMs)) taken.push(at);
  return taken;
}

describe('Schedule', () => {
  test('plans at a fixed rate', () => {
    expect(takeAll(new Schedule(1_000, 10), 1_450)).toEqual([1_000, 1_100, 1_200, 1_300, 1_400]);
  });

  test('keeps the planned time of what is taken late', () => {
    const schedule = new Schedule(0, 1_000);
    expect(schedule.take(0)).toBe(0);
    // Held up for 5 ms: each of those missed is still due at its own time.
    expect(takeAll(schedule, 5)).toEqual([1, 2, 3, 4, 5]);
  });

  test('has nothing due before its time, and nothing past its limit', () => {
    const schedule = new Schedule(100, 10, 2);
    expect(schedule.take(99)).toBeUndefined();
    expect(takeAll(schedule, 10_000)).toEqual([100, 200]);
    expect(schedule.done).toBe(true);
    expect(schedule.nextMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('processes that share one do together what one would do alone', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 200 }),
        fc.integer({ min: 1, max: 5_000 }),
        (processes, limit, rate) => {
          const endMs = 1e9;
          const alone = takeAll(new Schedule(50, rate, limit), endMs);
          const together = Array.from({ length: processes }, (_, i) =>
            takeAll(Schedule.share(50, rate, limit, i, processes), endMs),
          )
            .flat()
            .sort((a, b) => a - b);
          expect(together).toHaveLength(alone.length);
          for (const [i, at] of alone.entries()) expect(together[i]).toBeCloseTo(at, 3);
        },
      ),
    );
  });

  test('counts what was planned by a time as it would have been taken', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2_000 }),
        fc.constantFrom(1, 10, 50, 1_000),
        fc.integer({ min: 0, max: 100 }),
        (nowMs, rate, limit) => {
          const schedule = new Schedule(100, rate, limit);
          expect(schedule.plannedBy(nowMs)).toBe(takeAll(new Schedule(100, rate, limit), nowMs).length);
        },
      ),
    );
  });

  test('shares add up', () => {
    fc.assert(
      fc.property(fc.nat(10_000), fc.integer({ min: 1, max: 64 }), (count, processes) => {
        const shares = Array.from({ length: processes }, (_, i) => shareOf(count, i, processes));
        expect(shares.reduce((a, b) => a + b, 0)).toBe(count);
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
      }),
    );
  });
});
