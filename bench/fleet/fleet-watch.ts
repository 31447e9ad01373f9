import type { Run } from '../run.ts';
import type { Fleet } from './fleet.ts';
import { LatencyBook } from './latency-book.ts';
import { type Counters, total } from './messages.ts';

const INTERVAL_MS = 1_000;

/** How a fleet did within one second. */
export interface FleetPoint {
  readonly second: number;
  readonly open: number;
  readonly connectsPerS: number;
  readonly failuresPerS: number;
  readonly linesPerS: number;
  readonly repliesPerS: number;
  /** 0 when there were no replies. */
  readonly rttP99Ms: number;
  readonly handshakeP99Ms: number;
}

const SERIES = [
  ['connections', '{connection}', 'open'],
  ['connect.rate', '1/s', 'connectsPerS'],
  ['failure.rate', '1/s', 'failuresPerS'],
  ['line.rate', '1/s', 'linesPerS'],
  ['reply.rate', '1/s', 'repliesPerS'],
  ['rtt.p99', 'ms', 'rttP99Ms'],
  ['handshake.p99', 'ms', 'handshakeP99Ms'],
] as const;

/** Looks once a second at a fleet: for the progress line, and as series. */
export class FleetWatch {
  readonly points: FleetPoint[] = [];
  readonly #run: Run;
  readonly #fleet: Fleet;
  readonly #target: string;
  readonly #book = new LatencyBook();
  readonly #timer: NodeJS.Timeout;
  #last: Counters;
  #lastMs = performance.now();

  /** @param target in the series */
  constructor(run: Run, fleet: Fleet, target: string) {
    this.#run = run;
    this.#fleet = fleet;
    this.#target = target;
    this.#last = fleet.counters;
    fleet.onInterval = (latencies) => this.#book.merge(latencies);
    this.#timer = setInterval(() => this.#look(), INTERVAL_MS);
    this.#timer.unref();
  }

  #look(): void {
    const nowMs = performance.now();
    const now = this.#fleet.counters;
    const last = this.#last;
    const perS = (to: number, from: number) => ((to - from) * 1_000) / (nowMs - this.#lastMs);
    const point: FleetPoint = {
      second: this.#run.second,
      open: now.open,
      connectsPerS: perS(now.established, last.established),
      failuresPerS: perS(failures(now), failures(last)),
      linesPerS: perS(now.linesSent, last.linesSent),
      repliesPerS: perS(now.replies, last.replies),
      rttP99Ms: this.#book.percentileMs('rtt', 99),
      handshakeP99Ms: this.#book.percentileMs('handshake', 99),
    };
    this.#book.reset();
    this.#last = now;
    this.#lastMs = nowMs;
    this.points.push(point);
    this.#run.progress.status(this.#target, describe(point, failures(now)));
  }

  /** Takes a last look, and hands the series over. */
  end(): void {
    clearInterval(this.#timer);
    this.#run.progress.status(this.#target, undefined);
    for (const [name, unit, key] of SERIES) {
      const points = this.points.map((point) => [point.second, point[key]] as const);
      if (points.some(([, value]) => value > 0))
        this.#run.measured.addSeries({ name, unit, target: this.#target, points });
    }
  }
}

function failures(counters: Counters): number {
  return total(counters.failed) + total(counters.lost);
}

function describe(point: FleetPoint, errors: number): string {
  const parts = [`${point.open} open`];
  if (point.connectsPerS > 0)
    parts.push(`${point.connectsPerS.toFixed(0)} connects/s, p99 ${point.handshakeP99Ms.toFixed(1)} ms`);
  if (point.linesPerS > 0) parts.push(`${point.linesPerS.toFixed(0)} lines/s`);
  if (point.repliesPerS > 0)
    parts.push(`${point.repliesPerS.toFixed(0)} replies/s, p99 ${point.rttP99Ms.toFixed(1)} ms`);
  parts.push(`${errors} errors`);
  return parts.join('  ');
}
