import type { FleetPoint } from '../fleet/fleet-watch.ts';

/** Seconds of good latency, one after the other, that count as recovered. */
const STEADY_POINTS = 3;

/**
 * When a fleet was back at a good latency: the first of three seconds running with replies whose p99 keeps the bound.
 * @param points a second each, rising
 * @param fromS what came before does not count
 * @returns that moment, in the points' seconds; `undefined` when it has not come
 */
export function recoveredAt(
  points: readonly Pick<FleetPoint, 'second' | 'repliesPerS' | 'rttP99Ms'>[],
  fromS: number,
  boundMs: number,
): number | undefined {
  let steady = 0;
  for (const [i, point] of points.entries()) {
    if (point.second <= fromS) continue;
    steady = point.repliesPerS > 0 && point.rttP99Ms <= boundMs ? steady + 1 : 0;
    if (steady === STEADY_POINTS) return points[i - STEADY_POINTS + 1]!.second;
  }
  return undefined;
}
