import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { expectUnaffected } from '../helpers/latency.ts';
import { residentBytes } from '../helpers/processes.ts';
import { Traffic, type TrafficDevice } from '../helpers/traffic.ts';

const LINE_BYTES = 40_000;
const LINES = 4_000;
/** Of what floods in. */
const HELD_SHARE = 1 / 2;

it.each([
  ['a small share, and does not affect', { OWSLA_ENDPOINT_MAX_UNCONFIRMED_FRAMES: '4' }, 1],
  // Then their lines wait behind more of its own, at the broker.
  ['the default share, and does not hold up', {}, 4],
])('a device that floods is held back by %s others', async (_, env, patience) => {
  await using gateway = await GatewayProcess.start({ workers: 2, env });
  await using traffic = await Traffic.start(gateway);
  const [flooding, ...others] = traffic.devices as [TrafficDevice, ...TrafficDevice[]];
  await traffic.flows(2_000);
  const before = traffic.takeLatencies(others);
  const memory = new Map([...(await gateway.workers()).values()].map((pid) => [pid, residentBytes(pid)]));

  const sentBefore = flooding.current.sent;
  const flood = flooding.flood(LINE_BYTES);
  await eventually(
    'its share is used up',
    async () => (await gateway.metric('owsla_connections_paused')) > 0,
  );
  traffic.takeLatencies();
  let most = 0;
  await eventually(
    'it has flooded for a while',
    () => {
      for (const [pid, bytes] of memory) most = Math.max(most, residentBytes(pid) - bytes);
      return flooding.current.sent > sentBefore + LINES;
    },
    60_000,
  );
  const during = traffic.takeLatencies(others);
  expect(most).toBeLessThan(HELD_SHARE * LINES * LINE_BYTES);
  flooding.stop();
  await flood;
  expectUnaffected(during, before, patience);
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
});
