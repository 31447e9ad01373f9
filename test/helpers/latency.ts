import { expect } from 'vitest';

/**
 * Fails when latencies are worse than they were before, beyond what the noise of a shared machine explains. Both in
 * milliseconds and ascending.
 * @param patience times as much is allowed
 */
export function expectUnaffected(during: readonly number[], before: readonly number[], patience = 1): void {
  expect(before.length).toBeGreaterThan(100);
  expect(during.length).toBeGreaterThan(100);
  for (const [share, slackMs] of SLACK)
    expect(quantile(during, share), `the ${share} quantile`).toBeLessThan(
      patience * (RATIO * quantile(before, share) + slackMs),
    );
}

const RATIO = 4;
const SLACK: readonly [share: number, ms: number][] = [
  [0.5, 50],
  [0.95, 250],
  [0.99, 500],
];

function quantile(ascending: readonly number[], share: number): number {
  return ascending[Math.floor(share * (ascending.length - 1))]!;
}
