import { AggregatorRegistry, type MetricObject, type Registry } from 'prom-client';

/** Metrics of one process. */
export type Snapshot = readonly MetricObject[];

/**
 * The metrics of all workers together, those that are gone included: a counter that falls looks to Prometheus like a
 * restart of the whole gateway, and all that is left of it like new counts.
 */
export class MetricsSum {
  #gone: Promise<Snapshot> = Promise.resolve([]);

  /** A worker is gone: what it had counted stays, what it had measured of the moment does not. */
  retire(snapshot: Snapshot): void {
    const counted = snapshot.filter(({ type }) => isCount(type));
    this.#gone = this.#gone.then((gone) => sum([gone, counted]).getMetricsAsJSON());
  }

  /** In the text format, with those of the workers that run. */
  async text(running: readonly Snapshot[]): Promise<{ contentType: string; body: string }> {
    const registry = sum([await this.#gone, ...running]);
    return { contentType: registry.contentType, body: await registry.metrics() };
  }
}

const sum = (snapshots: readonly Snapshot[]): Registry => AggregatorRegistry.aggregate(snapshots as object[]);

/** prom-client's types say it is a number; it is the word. */
const isCount = (type: unknown): boolean => type === 'counter' || type === 'histogram';
