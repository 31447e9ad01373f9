import type { HarnessFigures, ScheduleFigures } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import type { Meter } from './meter.ts';

/** The harness's own cost over a stretch of time, process by process. */
export class HarnessMeter {
  readonly #meters: readonly Meter[];
  readonly #startMs = performance.now();
  readonly #startCpuMs: readonly number[];

  /** Begins the stretch. @param meters one for each process that carries load */
  constructor(meters: readonly Meter[]) {
    this.#meters = meters;
    this.#startCpuMs = meters.map((meter) => meter.read().cpuMs);
  }

  /** Ends the stretch. */
  end(): { busiestCpuShare: number; cores: number } {
    const elapsedMs = performance.now() - this.#startMs;
    const shares = this.#meters.map((meter, i) => (meter.read().cpuMs - this.#startCpuMs[i]!) / elapsedMs);
    return { busiestCpuShare: Math.max(0, ...shares), cores: shares.reduce((sum, share) => sum + share, 0) };
  }

  /** Ends the stretch, and enters what it cost. */
  report(run: Run, schedules: Readonly<Record<string, ScheduleFigures>>): HarnessFigures {
    const { busiestCpuShare, cores } = this.end();
    const { measured } = run;
    measured.metric('harness.cpu', '%', 100 * cores, 'harness');
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    for (const [what, { lagP99Ms }] of Object.entries(schedules)) {
      measured.metric(`harness.lag.${what}.p99`, 'ms', lagP99Ms, 'harness');
    }
    return { busiestCpuShare, schedules };
  }
}
