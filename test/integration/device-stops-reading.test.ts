import { expect, it } from 'vitest';
import { ownerOf } from '../../src/registry/connection-id.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { expectUnaffected } from '../helpers/latency.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic, type TrafficDevice } from '../helpers/traffic.ts';

it('a device that never reads is closed as slow_consumer, and holds up nobody else', async () => {
  const REPLIES = 2_000;
  const undelivered: { n: number; reason: string }[] = [];
  await using gateway = await GatewayProcess.start({ workers: 2 });
  await using traffic = await Traffic.start(gateway, {
    strayUndelivered: ({ content, properties }) => {
      const [, n] = /^slow (\d+) /.exec(content.toString('latin1', 0, 20)) ?? [];
      if (n !== undefined) undelivered.push({ n: Number(n), reason: properties.headers!.reason });
      return n !== undefined;
    },
  });
  await using publisher = await Publisher.connect();
  const [slow, ...others] = traffic.devices as [TrafficDevice, ...TrafficDevice[]];
  const id = traffic.ledger.connectionIdOf(slow.current.session)!;
  const inbox = gateway.names.inboxPrefix + ownerOf(id);
  await traffic.flows(2_000);
  const before = traffic.takeLatencies(others);

  slow.stall();
  traffic.takeLatencies();
  const closed = () => gateway.metric('owsla_connections_closed_total', { reason: 'slow_consumer' });
  for (let n = 0; n < REPLIES; n++) {
    publisher.publish(inbox, `slow ${n} `.padEnd(10_000, '.'), { headers: { connection_id: id } });
    if (n % 50 === 0) await publisher.flushed();
  }
  await eventually('it is closed', async () => (await closed()) === 1);
  // That can be a matter of a fifth of a second: enough for the upper quantiles, if not for a sample by itself.
  await traffic.flows(200);
  expectUnaffected(traffic.takeLatencies(others), before);
  slow.abandon();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.lost).toBe(0);
  expect(await gateway.metric('owsla_connections')).toBe(others.length);

  // The first ones went to the kernel; every other has its fate, once, and the gateway counts the same.
  await eventually('a fate for the last', () => undelivered.some(({ n }) => n === REPLIES - 1));
  const total = (name: string) => gateway.metric(`owsla_${name}`);
  const settled = (await total('frames_sent_total')) + (await total('replies_undelivered_total'));
  expect(settled).toBe(report.replies.published + REPLIES);
  const fates = undelivered.map(({ n }) => n).sort((a, b) => a - b);
  expect(fates).toEqual(Array.from({ length: fates.length }, (_, n) => REPLIES - fates.length + n));
  const reasons = new Set(undelivered.map(({ reason }) => reason));
  expect(reasons.delete('slow_consumer')).toBe(true);
  // Those that came when it was gone.
  expect([...reasons].filter((reason) => reason !== 'not_connected')).toEqual([]);
});
