import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 10;
const NANOSECONDS_PER_MS = 1e6;

/**
 * How late the event loop is, on average over a period. Node takes a sample every 10 ms in native code; over 50 ms
 * their mean is steady enough to act on, where a single late timer may only have met a busy core.
 */
export class LoopDelay {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  /** The mean delay in milliseconds since the last call; 0 when there was no sample. */
  sinceLast(): number {
    const { mean } = this.#histogram;
    this.#histogram.reset();
    return Number.isNaN(mean) ? 0 : Math.max(0, mean / NANOSECONDS_PER_MS - RESOLUTION_MS);
  }

  stop(): void {
    this.#histogram.disable();
  }
}
