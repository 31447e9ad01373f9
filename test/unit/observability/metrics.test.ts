import { expect, test } from 'vitest';
import { Metrics } from '../../../src/observability/metrics.ts';

/** The values of a metric by their labels, as a scrape finds them. */
async function scraped(metrics: Metrics, name: string): Promise<Record<string, number>> {
  const found = (await metrics.snapshot()).find((metric) => metric.name === name)!;
  const values = found.values as unknown as {
    metricName?: string;
    labels: Record<string, string>;
    value: number;
  }[];
  return Object.fromEntries(
    values.map(({ metricName = '', labels, value }) => [
      [metricName.slice(name.length), ...Object.values(labels)].join(' ').trim(),
      value,
    ]),
  );
}

test('handshakes are counted by result and kind, from 0, and once however often they are looked at', async () => {
  const metrics = new Metrics(0);
  expect(await scraped(metrics, 'owsla_handshakes_total')).toMatchObject({ 'ok false': 0, 'ok true': 0 });
  metrics.handshakeStarted('full', 1);
  metrics.handshakeStarted('full', 1);
  metrics.handshakeStarted('resumed', 1);
  metrics.handshakeSucceeded(10, false);
  metrics.handshakeSucceeded(10, true);
  metrics.handshakeFailed('tls_error', true);
  metrics.connectionClosed('peer_closed');
  for (let scrape = 0; scrape < 2; scrape++) {
    expect(await scraped(metrics, 'owsla_handshakes_started_total')).toEqual({ full: 2, resumed: 1 });
    expect(await scraped(metrics, 'owsla_handshakes_total')).toMatchObject({
      'ok false': 1,
      'ok true': 1,
      'tls_error false': 1,
      'handshake_timeout false': 0,
    });
    expect(await scraped(metrics, 'owsla_connections_opened_total')).toEqual({ '': 2 });
    expect(await scraped(metrics, 'owsla_connections_closed_total')).toMatchObject({
      tls_error: 1,
      peer_closed: 1,
      shutdown: 0,
    });
    expect(await scraped(metrics, 'owsla_handshakes_in_progress')).toEqual({ '': 0 });
  }
});

test.each([1, 256, 1_000])('a scrape finds all of %i times that were told', async (count) => {
  const metrics = new Metrics(0);
  for (let n = 0; n < count; n++) metrics.handshakeStarted('full', n === 0 ? 20_000 : 3);
  expect(await scraped(metrics, 'owsla_admission_wait_seconds')).toMatchObject({
    '_bucket 0.0025': 0,
    '_bucket 0.005': count - 1,
    '_bucket 10': count - 1,
    '_bucket +Inf': count,
    _count: count,
  });
});
