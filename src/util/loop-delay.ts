import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 10;
const NANOSECONDS_PER_MS = 1e6;

export interface LoopDelays {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/**
 * How late the event loop is, as Node samples it in native code. Over 50 ms the mean is steady enough to act on, where
 * a single late timer may only have met a busy core.
 *
 * One histogram for those who ask some times a second and one for those who ask some times a minute: what has grown
 * long takes long to read. Begun together they are sampled together, and a sample wakes the process up but once.
 */
export class LoopDelay {
  readonly #short = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #long = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#short.enable();
    this.#long.enable();
  }

  /** The mean delay in milliseconds since the last call; 0 when there was no sample. */
  takeMean(): number {
    const { mean } = this.#short;
    this.#short.reset();
    return Number.isNaN(mean) ? 0 : lateness(mean);
  }

  /** Since the last call of this one. */
  takeAll(): LoopDelays {
    const delays = {
      medianMs: lateness(this.#long.percentile(50)),
      p99Ms: lateness(this.#long.percentile(99)),
      maxMs: lateness(this.#long.max),
    };
    this.#long.reset();
    return delays;
  }
}

/** A sample is the time between two; what exceeds the resolution is delay. */
function lateness(nanoseconds: number): number {
  return Math.max(0, nanoseconds / NANOSECONDS_PER_MS - RESOLUTION_MS);
}
