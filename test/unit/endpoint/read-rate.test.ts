import { expect, test } from 'vitest';
import { nextFrameAt, paidUntil } from '../../../src/endpoint/read-rate.ts';

const START_MS = 5_000;

/** How many frames are read at `atMs`, one after another, before the next has to wait. */
function readable(paidUntilMs: number, atMs: number, bytes: number, rate: Parameters<typeof paidUntil>[3]) {
  let frames = 0;
  let paid = paidUntilMs;
  for (; nextFrameAt(paid) <= atMs && frames < 100_000; frames++) paid = paidUntil(paid, atMs, bytes, rate);
  return { frames, paid };
}

test.each([
  ['frames', 1, { maxFramesPerSecond: 40, maxBytesPerSecond: 0 }],
  ['bytes', 25, { maxFramesPerSecond: 0, maxBytesPerSecond: 1_000 }],
  ['frames, where they are more', 1, { maxFramesPerSecond: 40, maxBytesPerSecond: 1_000 }],
  ['bytes, where they are more', 100, { maxFramesPerSecond: 1_000, maxBytesPerSecond: 4_000 }],
])('a second of %s may come at once, and then as many as time gives', (_, bytes, rate) => {
  const burst = readable(0, START_MS, bytes, rate);
  // The one that goes over it is still let through.
  expect(burst.frames).toBe(41);
  expect(nextFrameAt(burst.paid)).toBe(START_MS + 25);
  const later = readable(burst.paid, START_MS + 250, bytes, rate);
  expect(later.frames).toBe(10);
  // Silence saves up no more than a second.
  expect(readable(later.paid, START_MS + 60_000, bytes, rate).frames).toBe(41);
});

test('one frame that is larger than a second allows is read, and paid for', () => {
  const paid = paidUntil(0, START_MS, 5_000, { maxFramesPerSecond: 0, maxBytesPerSecond: 1_000 });
  expect(nextFrameAt(paid)).toBe(START_MS + 4_000);
});

test('without limits, nothing ever waits', () => {
  const rate = { maxFramesPerSecond: 0, maxBytesPerSecond: 0 };
  expect(readable(0, START_MS, 1_000_000, rate).frames).toBe(100_000);
});
