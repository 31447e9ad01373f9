import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { LoopDelay } from '../../../src/util/loop-delay.ts';

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('the mean is of what came since it was last asked, and asking for all does not disturb it', async () => {
  const loop = new LoopDelay();
  expect(loop.takeMean()).toBe(0);
  await delay(50);
  block(1_000);
  await delay(50);
  const late = loop.takeMean();
  const all = loop.takeAll();
  // The blocked stretch is one sample of at least 980 ms among a few.
  expect(late).toBeGreaterThan(20);
  expect(all.maxMs).toBeGreaterThanOrEqual(900);
  expect(all.medianMs).toBeLessThan(all.maxMs);
  expect(loop.takeMean()).toBe(0);
  await delay(100);
  // Had the first stretch been counted again, this could not be less.
  expect(loop.takeMean()).toBeLessThan(late);
  expect(loop.takeAll().maxMs).toBeLessThan(all.maxMs);
});
