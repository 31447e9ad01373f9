import { describe, expect, test } from 'vitest';
import { LOOK_MS, StatusWatch, statusIntervalMs } from '../../../src/supervisor/status-watch.ts';

const READINESS = { intervalMs: 3_000, timeoutMs: 2_000 };

/** Looks until the worker counts as silent. */
function looksUntilSilent(watch: StatusWatch): number {
  let looks = 1;
  while (!watch.look()) looks++;
  return looks;
}

describe('a worker', () => {
  test('is silent after an interval and a time out without a status, with a look or two to spare', () => {
    const watch = new StatusWatch(READINESS);
    const silentForMs = (looksUntilSilent(watch) - 1) * LOOK_MS;
    expect(silentForMs).toBeGreaterThan(READINESS.intervalMs + READINESS.timeoutMs);
    expect(silentForMs).toBeLessThanOrEqual(READINESS.intervalMs + READINESS.timeoutMs + 2 * LOOK_MS);
    expect(watch.isSilent).toBe(true);
  });

  test('is told to be silent once, and is not any more when it is heard', () => {
    const watch = new StatusWatch(READINESS);
    const looks = looksUntilSilent(watch);
    expect(Array.from({ length: 50 }, () => watch.look())).not.toContain(true);
    expect(watch.isSilent).toBe(true);
    watch.heard();
    expect(watch.isSilent).toBe(false);
    expect(looksUntilSilent(watch)).toBe(looks);
  });

  test('that is heard in time is never silent, however often it is looked at', () => {
    const watch = new StatusWatch(READINESS);
    const looks = looksUntilSilent(new StatusWatch(READINESS));
    for (let times = 0; times < 100; times++) {
      watch.heard();
      for (let look = 1; look < looks; look++) expect(watch.look()).toBe(false);
    }
    expect(watch.isSilent).toBe(false);
  });

  test('tells its status as often as it probes the broker, but not each millisecond', () => {
    expect(statusIntervalMs(READINESS)).toBe(3_000);
    expect(statusIntervalMs({ intervalMs: 1, timeoutMs: 1 })).toBe(250);
  });
});
