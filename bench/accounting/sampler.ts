import type { Series } from '../report/result.ts';
import type { Meter } from './meter.ts';

const INTERVAL_MS = 1_000;

interface Track {
  readonly meter: Meter;
  readonly cpu: [number, number][];
  readonly memory: [number, number][];
  readonly descriptors: [number, number][];
  lastCpuMs: number;
  lastMs: number;
}

/** Looks once a second at what processes use, and keeps it as series. */
export class Sampler {
  readonly #startMs: number;
  readonly #tracks = new Map<Meter, Track>();
  readonly #ended: Track[] = [];
  readonly #timer: NodeJS.Timeout;

  /** @param startMs zero of the series, on the clock of `performance.now()` */
  constructor(startMs: number) {
    this.#startMs = startMs;
    this.#timer = setInterval(() => this.sample(), INTERVAL_MS);
    this.#timer.unref();
  }

  watch(meter: Meter): void {
    const lastCpuMs = meter.read().cpuMs;
    const track = { meter, cpu: [], memory: [], descriptors: [], lastCpuMs, lastMs: performance.now() };
    this.#tracks.set(meter, track);
  }

  unwatch(meter: Meter): void {
    const track = this.#tracks.get(meter);
    if (track === undefined) return;
    this.#tracks.delete(meter);
    this.#ended.push(track);
  }

  sample(): void {
    for (const track of this.#tracks.values()) {
      const nowMs = performance.now();
      const second = (nowMs - this.#startMs) / 1_000;
      const { cpuMs, rssBytes, descriptors } = track.meter.read();
      track.cpu.push([second, (100 * (cpuMs - track.lastCpuMs)) / (nowMs - track.lastMs)]);
      track.memory.push([second, rssBytes]);
      track.descriptors.push([second, descriptors]);
      track.lastCpuMs = cpuMs;
      track.lastMs = nowMs;
    }
  }

  /** One after the other for a program that was started again. */
  series(): Series[] {
    const all = [...this.#ended, ...this.#tracks.values()];
    return all.flatMap(({ meter: { target }, cpu, memory, descriptors }) => [
      { name: 'cpu', unit: '%', target, points: cpu },
      { name: 'memory', unit: 'B', target, points: memory },
      { name: 'descriptors', unit: '{descriptor}', target, points: descriptors },
    ]);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
