import { HarnessMeter } from '../accounting/harness-meter.ts';
import type { Meter } from '../accounting/meter.ts';
import type { Run } from '../run.ts';
import type { Site } from '../site.ts';
import type { LineTraffic } from './line-traffic.ts';

/** What happened between two moments of running traffic. */
export interface WindowFigures {
  readonly elapsedS: number;
  readonly linesSent: number;
  readonly linesTaken: number;
  readonly replies: number;
  /** By target; those without processes to look at are left out. */
  readonly cpuMs: ReadonlyMap<string, number>;
  readonly busiestCpuShare: number;
}

/** A stretch of running traffic that is measured: CPU and counts at its begin and its end. */
export class TrafficWindow {
  readonly #run: Run;
  readonly #traffic: LineTraffic;
  readonly #meters: readonly Meter[];
  readonly #cpuMs: readonly number[];
  readonly #harness: HarnessMeter;
  readonly #startMs = performance.now();
  readonly #linesSent: number;
  readonly #replies: number;
  readonly #taken: number;

  /** Begins it; latencies of what is planned from here on are those of `phase`. */
  static async begin(run: Run, site: Site, traffic: LineTraffic, phase: string): Promise<TrafficWindow> {
    await traffic.fleet.phase(phase);
    return new TrafficWindow(run, site, traffic);
  }

  private constructor(run: Run, site: Site, traffic: LineTraffic) {
    this.#run = run;
    this.#traffic = traffic;
    this.#meters = [traffic.meter, site.brokerMeter];
    this.#cpuMs = this.#meters.map((meter) => meter.read().cpuMs);
    this.#harness = new HarnessMeter(traffic.harnessMeters());
    const { linesSent, replies } = traffic.fleet.counters;
    this.#linesSent = linesSent;
    this.#replies = replies;
    this.#taken = traffic.backend.counters.taken;
  }

  /** Ends it; what is planned from here on belongs to `phase`. */
  async end(phase: string): Promise<WindowFigures> {
    const { fleet, backend } = this.#traffic;
    await fleet.phase(phase);
    const elapsedS = (performance.now() - this.#startMs) / 1_000;
    const spent = this.#meters.map(
      (meter, i) => [meter.target, meter.read().cpuMs - this.#cpuMs[i]!] as const,
    );
    const { busiestCpuShare, cores } = this.#harness.end();
    const { measured } = this.#run;
    measured.metric('harness.cpu', '%', 100 * cores, 'harness');
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    const { linesSent, replies } = fleet.counters;
    return {
      elapsedS,
      linesSent: linesSent - this.#linesSent,
      linesTaken: backend.counters.taken - this.#taken,
      replies: replies - this.#replies,
      cpuMs: new Map(spent.filter(([, ms]) => ms > 0)),
      busiestCpuShare,
    };
  }
}
