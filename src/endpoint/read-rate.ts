/** How much a connection may send; 0: no limit. */
export interface ReadRate {
  readonly maxFramesPerSecond: number;
  readonly maxBytesPerSecond: number;
}

/** As much as the rate gives in this time may come at once. */
const BURST_MS = 1_000;

/**
 * The rate of one connection as a leaky bucket (the virtual scheduling of GCRA, ITU-T I.371), which takes a single
 * number to remember for each of 40,000 connections: the time up to which the rate allowed has been used. Pure.
 *
 * @param paidUntilMs what the last call returned; 0 at first
 * @returns the same with one more frame, which takes as long as its number or its bytes do, whichever is more
 */
export function paidUntil(paidUntilMs: number, nowMs: number, bytes: number, rate: ReadRate): number {
  return (
    Math.max(paidUntilMs, nowMs) +
    Math.max(share(1, rate.maxFramesPerSecond), share(bytes, rate.maxBytesPerSecond))
  );
}

/** When the next frame may be read: at once, unless this lies ahead. */
export function nextFrameAt(paidUntilMs: number): number {
  return paidUntilMs - BURST_MS;
}

function share(amount: number, perSecond: number): number {
  return perSecond === 0 ? 0 : (1_000 * amount) / perSecond;
}
