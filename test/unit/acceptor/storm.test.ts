import { describe, expect, test } from 'vitest';
import { CAPACITY_PER_SECOND, StormSimulation } from './storm-simulation.ts';

const MINUTE = 60_000;
/** They stay for 10 s, so this many want in twice as fast as the server can let them. */
const TWICE_THE_CAPACITY = { polite: 200, impatient: 1_800 };

/** Reproducible (a linear congruential generator). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Devices let in, by minute. */
function goodputByMinute(storm: StormSimulation): number[] {
  const minutes: number[] = [];
  for (const [second, count] of Object.entries(storm.goodput)) {
    const minute = Math.floor(Number(second) / 60);
    minutes[minute] = (minutes[minute] ?? 0) + count;
  }
  return minutes;
}

/** Three quarters of the devices stay away from now on: what is left is half of the capacity. */
function calm(storm: StormSimulation): void {
  for (const [index, device] of storm.devices.entries()) device.isGone = index % 4 !== 0;
}

const capacityPerMinute = CAPACITY_PER_SECOND * 60;

describe('an hour of twice the capacity, by clients that retry at once', () => {
  const storm = new StormSimulation(TWICE_THE_CAPACITY, false, randomFrom(1));
  storm.run(60 * MINUTE);

  test('lets in four fifths of the capacity or more in every minute', () => {
    const minutes = goodputByMinute(storm);
    expect(minutes).toHaveLength(60);
    expect(Math.min(...minutes)).toBeGreaterThan(0.8 * capacityPerMinute);
  });

  test('does not starve the polite', () => {
    const polite = storm.devices.filter((device) => device.isPolite);
    for (const device of polite) {
      expect(device.successes).toBeGreaterThan(20);
      expect(device.longestWaitMs).toBeLessThan(15 * MINUTE);
    }
  });

  test('is over when it is over', () => {
    calm(storm);
    storm.run(10_000);
    storm.run(MINUTE);
    const seconds = storm.goodput.slice(-60);
    expect(seconds.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0.45 * capacityPerMinute);
    const staying = storm.devices.filter((device) => !device.isGone);
    // Nobody who came after the storm has failed; who waited out a backoff from it may not have come yet.
    const failures = staying.filter((device) => !device.isPolite && device.failures > 0);
    expect(failures).toEqual([]);
  });
});

test('the same with a plain line never comes back: what the gate is for', () => {
  const storm = new StormSimulation(TWICE_THE_CAPACITY, true, randomFrom(1));
  storm.run(5 * MINUTE);
  expect(goodputByMinute(storm)[4] ?? 0).toBeLessThan(0.2 * capacityPerMinute);
});
