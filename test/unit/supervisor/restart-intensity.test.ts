import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RestartIntensity } from '../../../src/supervisor/restart-intensity.ts';

describe('restart intensity', () => {
  test('allows so many restarts within the window and not one more', () => {
    const intensity = new RestartIntensity(3, 1_000);
    expect([0, 100, 200, 300].map((at) => intensity.allows(at))).toEqual([true, true, true, false]);
  });

  test('forgets a restart when the window has passed', () => {
    const intensity = new RestartIntensity(2, 1_000);
    expect([0, 500, 1_000, 1_500, 1_999].map((at) => intensity.allows(at))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(intensity.recent).toBe(3);
    expect(intensity.allows(10_000)).toBe(true);
    expect(intensity.recent).toBe(1);
  });

  test('of nothing allows nothing', () => {
    expect(new RestartIntensity(0, 1_000).allows(0)).toBe(false);
  });

  test('agrees with counting all restarts anew each time', () => {
    const pauses = fc.array(fc.nat(300), { maxLength: 60 });
    fc.assert(
      fc.property(fc.nat(5), fc.integer({ min: 1, max: 1_000 }), pauses, (maxRestarts, windowMs, pauses) => {
        const intensity = new RestartIntensity(maxRestarts, windowMs);
        const restartsAt: number[] = [];
        let nowMs = 0;
        for (const pause of pauses) {
          nowMs += pause;
          restartsAt.push(nowMs);
          const recent = restartsAt.filter((at) => at > nowMs - windowMs);
          expect(intensity.allows(nowMs)).toBe(recent.length <= maxRestarts);
          expect(intensity.recent).toBe(recent.length);
        }
      }),
    );
  });
});
