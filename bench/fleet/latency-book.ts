import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from 'hdr-histogram-js';
import type { LatencyHistogram } from '../report/result.ts';

/** Histograms as they travel between processes, by name. */
export type EncodedBook = Readonly<Record<string, string>>;

const LONGEST_US = 3_600_000_000;
/** A thousandth of a value is what two values may differ by and be taken for one. */
const DIGITS = 3;

/** Percentiles that a curve is drawn from. */
const PERCENTILES = [
  0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.75, 99.9, 99.95,
  99.975, 99.99, 100,
];

/** Latencies by name, in HDR histograms, which can be added without losing what a percentile needs. */
export class LatencyBook {
  readonly #histograms = new Map<string, Histogram>();

  /** All that these hold. */
  static sum(books: Iterable<LatencyBook>): LatencyBook {
    const sum = new LatencyBook();
    for (const book of books) sum.merge(book);
    return sum;
  }

  record(name: string, ms: number): void {
    const us = Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1_000)));
    this.#histogram(name).recordValue(us);
  }

  add(encoded: EncodedBook): void {
    for (const [name, text] of Object.entries(encoded)) {
      this.#histogram(name).add(decodeFromCompressedBase64(text));
    }
  }

  merge(other: LatencyBook): void {
    for (const [name, histogram] of other.#histograms) this.#histogram(name).add(histogram);
  }

  encode(): EncodedBook {
    const encoded: Record<string, string> = {};
    for (const [name, histogram] of this.#histograms) {
      if (histogram.totalCount > 0) encoded[name] = encodeIntoCompressedBase64(histogram);
    }
    return encoded;
  }

  /** Forgets the values, keeps the memory. */
  reset(): void {
    for (const histogram of this.#histograms.values()) histogram.reset();
  }

  count(name: string): number {
    return this.#histograms.get(name)?.totalCount ?? 0;
  }

  /** In milliseconds; 0 when nothing was recorded. */
  percentileMs(name: string, percentile: number): number {
    const histogram = this.#histograms.get(name);
    if (histogram === undefined || histogram.totalCount === 0) return 0;
    return histogram.getValueAtPercentile(percentile) / 1_000;
  }

  maxMs(name: string): number {
    return this.count(name) === 0 ? 0 : this.#histograms.get(name)!.maxValue / 1_000;
  }

  /** As a result keeps it; `undefined` when nothing was recorded. */
  result(name: string, target: string, as = name): LatencyHistogram | undefined {
    if (this.count(name) === 0) return undefined;
    return {
      name: as,
      target,
      count: this.count(name),
      maxMs: this.maxMs(name),
      percentiles: PERCENTILES.map(
        (percentile) => [percentile, this.percentileMs(name, percentile)] as const,
      ),
    };
  }

  #histogram(name: string): Histogram {
    let histogram = this.#histograms.get(name);
    if (histogram === undefined) {
      histogram = build({ highestTrackableValue: LONGEST_US, numberOfSignificantValueDigits: DIGITS });
      this.#histograms.set(name, histogram);
    }
    return histogram;
  }
}
