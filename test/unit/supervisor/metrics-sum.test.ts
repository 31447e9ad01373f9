import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { MetricsSum } from '../../../src/supervisor/metrics-sum.ts';

/** What a worker tells that has so many connections, and had as many before. */
async function snapshot(connections: number) {
  const registers = [new Registry()];
  new Counter({ name: 'opened_total', help: '-', labelNames: ['kind'], registers }).inc(
    { kind: 'full' },
    2 * connections,
  );
  new Gauge({ name: 'open', help: '-', registers }).set(connections);
  new Histogram({ name: 'seconds', help: '-', buckets: [1, 5], registers }).observe(connections);
  return registers[0]!.getMetricsAsJSON();
}

const lines = async (sum: MetricsSum, ...connections: number[]) => {
  const { body } = await sum.text(await Promise.all(connections.map(snapshot)));
  return body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
};

test('workers are added up', async () => {
  expect(await lines(new MetricsSum(), 3, 4)).toEqual([
    'opened_total{kind="full"} 14',
    'open 7',
    'seconds_bucket{le="1"} 0',
    'seconds_bucket{le="5"} 2',
    'seconds_bucket{le="+Inf"} 2',
    'seconds_sum 7',
    'seconds_count 2',
  ]);
});

test('what workers that are gone have counted stays, what they held does not', async () => {
  const sum = new MetricsSum();
  for (const connections of [10, 1, 2]) sum.retire(await snapshot(connections));
  sum.retire([]);
  expect(await lines(sum, 3)).toEqual([
    'opened_total{kind="full"} 32',
    'seconds_bucket{le="1"} 1',
    'seconds_bucket{le="5"} 3',
    'seconds_bucket{le="+Inf"} 4',
    'seconds_sum 16',
    'seconds_count 4',
    'open 3',
  ]);
});
