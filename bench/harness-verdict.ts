/** Whether the harness itself was what limited a run. Pure. */
export interface HarnessFigures {
  /** CPU of the busiest of its processes during the measurement, 1 being a whole core. */
  readonly busiestCpuShare: number;
  /** By what it does, `connects` or `sends`: how late it was, and how much of what was due it did. */
  readonly schedules: Readonly<Record<string, ScheduleFigures>>;
}

export interface ScheduleFigures {
  readonly lagP99Ms: number;
  /** Of what is measured from the planned time on, so that the lag is in it. */
  readonly latencyP99Ms?: number;
  readonly planned: number;
  readonly done: number;
}

const WHOLE_CORE = 0.95;
const REACHED = 0.99;
/** A latency with more lag in it than this is one of the harness; a lag of few milliseconds is a timer's. */
const LAG_SHARE = 0.5;
const TIMER_MS = 5;

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
  for (const [what, { lagP99Ms, latencyP99Ms, planned, done }] of Object.entries(schedules)) {
    if (lagP99Ms > maxLagMs)
      problems.push(
        `harness: ${what} were up to ${lagP99Ms.toFixed(0)} ms behind their plan (p99; allowed are ${maxLagMs} ms)`,
      );
    if (latencyP99Ms !== undefined && lagP99Ms > TIMER_MS && lagP99Ms > latencyP99Ms * LAG_SHARE)
      problems.push(
        `harness: the p99 of ${latencyP99Ms.toFixed(0)} ms is largely its own, as its ${what} were ${lagP99Ms.toFixed(0)} ms behind their plan (p99)`,
      );
    if (done < planned * REACHED)
      problems.push(
        `harness: only ${done} of ${planned} ${what} were begun in time; the load was not reached`,
      );
  }
  return problems;
}
