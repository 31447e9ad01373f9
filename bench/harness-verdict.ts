/** Whether the harness itself was what limited a run. Pure. */
export interface HarnessFigures {
  /** CPU of the busiest of its processes during the measurement, 1 being a whole core. */
  readonly busiestCpuShare: number;
  /** By what it does, `connects` or `sends`: how late it was, and how much of what was due it did. */
  readonly schedules: Readonly<Record<string, ScheduleFigures>>;
}

export interface ScheduleFigures {
  readonly lagP99Ms: number;
  readonly planned: number;
  readonly done: number;
}

const WHOLE_CORE = 0.95;
const REACHED = 0.99;

/** Why a figure of this run is one of the harness; empty when it is not. */
export function harnessProblems(figures: HarnessFigures, maxLagMs: number): string[] {
  const problems: string[] = [];
  const { busiestCpuShare, schedules } = figures;
  if (busiestCpuShare > WHOLE_CORE) {
    const percent = (100 * busiestCpuShare).toFixed(0);
    problems.push(
      `harness: one of its processes used ${percent} % of a core, so it was the bottleneck; give it more (--load-processes) or ask for less`,
    );
  }
  for (const [what, { lagP99Ms, planned, done }] of Object.entries(schedules)) {
    if (lagP99Ms > maxLagMs)
      problems.push(
        `harness: ${what} were up to ${lagP99Ms.toFixed(0)} ms behind their plan (p99; allowed are ${maxLagMs} ms)`,
      );
    if (done < planned * REACHED)
      problems.push(
        `harness: only ${done} of ${planned} ${what} were begun in time; the load was not reached`,
      );
  }
  return problems;
}
