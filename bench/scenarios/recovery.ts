import type { FleetPoint } from '../fleet/fleet-watch.ts';

/** Seconds that are looked at together, so that a single bad one neither hides a recovery nor makes one. */
const WINDOW = 5;

type LatencyPoint = Pick<FleetPoint, 'second' | 'repliesPerS' | 'rttP99Ms'>;

/**
 * When a fleet was back at a good latency: the first good second with a majority of good ones among the five that
 * it begins. Good is a second with replies whose p99 keeps the bound.
 * @param points a second each, rising
 * @param fromS what came before does not count
 * @returns that moment, in the points' seconds; `undefined` when it has not come
 */
export function recoveredAt(
  points: readonly LatencyPoint[],
  fromS: number,
  boundMs: number,
): number | undefined {
  const good = ({ repliesPerS, rttP99Ms }: LatencyPoint) => repliesPerS > 0 && rttP99Ms <= boundMs;
  const later = points.filter(({ second }) => second > fromS);
  for (let i = 0; i + WINDOW <= later.length; i++) {
    const window = later.slice(i, i + WINDOW);
    if (good(window[0]!) && window.filter(good).length > WINDOW / 2) return window[0]!.second;
  }
  return undefined;
}

/** The worst second of those between two moments; 0 without any. */
export function worstP99Ms(points: readonly LatencyPoint[], fromS: number, toS: number): number {
  return Math.max(
    0,
    ...points.filter(({ second }) => second > fromS && second <= toS).map((p) => p.rttP99Ms),
  );
}
