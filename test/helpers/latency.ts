import { expect } from 'vitest';

/**
 * Fails when latencies are worse while something goes on than while it does not. Both are measured in rounds that take
 * turns, and the median round counts: a machine that is busy with something else spoils a round or two, what is looked
 * for here spoils them all.
 * @param during milliseconds, ascending, of each round
 * @param calm the same, of the rounds in between
 * @param slackMs what the 0.95 and 0.99 quantiles may be worse by, beyond the ratio that noise explains
 */
export function expectUnaffected(
  during: readonly number[][],
  calm: readonly number[][],
  slackMs: number,
): void {
  for (const latencies of [...during, ...calm]) expect(latencies.length).toBeGreaterThan(100);
  expectQuantile(0.5, MEDIAN_SLACK_MS);
  expectQuantile(0.95, slackMs);
  expectQuantile(0.99, slackMs);

  function expectQuantile(share: number, slackMs: number) {
    const [rounds, calmRounds] = [during, calm].map((all) =>
      all.map((latencies) => quantile(latencies, share)).sort((a, b) => a - b),
    ) as [number[], number[]];
    const mostMs = RATIO * quantile(calmRounds, 0.5) + slackMs;
    const text = (all: number[]) => all.map(Math.round).join(', ');
    const what = `the ${share} quantile of the median round (${text(rounds)}; calm: ${text(calmRounds)})`;
    expect(quantile(rounds, 0.5), what).toBeLessThan(mostMs);
  }
}

const RATIO = 2.5;
const MEDIAN_SLACK_MS = 3;

function quantile(ascending: readonly number[], share: number): number {
  return ascending[Math.floor(share * (ascending.length - 1))]!;
}
