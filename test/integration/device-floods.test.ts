import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { expectUnaffected } from '../helpers/latency.ts';
import { residentBytes } from '../helpers/processes.ts';
import { Traffic, type TrafficDevice } from '../helpers/traffic.ts';

const MEBIBYTE = 1_048_576;

it('a device that floods is held back by its own share, and harms nobody else', async () => {
  await using gateway = await GatewayProcess.start({
    workers: 2,
    // So few that the one backend, which answers all lines in their order, keeps up.
    env: { OWSLA_ENDPOINT_MAX_UNCONFIRMED_FRAMES: '4' },
  });
  await using traffic = await Traffic.start(gateway, { lineBytes: 2_000 });
  const [flooding, ...others] = traffic.devices as [TrafficDevice, ...TrafficDevice[]];
  await traffic.flows(2_000);
  const before = traffic.takeLatencies(others);
  const memory = new Map([...(await gateway.workers()).values()].map((pid) => [pid, residentBytes(pid)]));

  const sentBefore = flooding.current.sent;
  const flood = flooding.flood();
  await eventually(
    'its share is used up',
    async () => (await gateway.metric('owsla_connections_paused')) > 0,
  );
  traffic.takeLatencies();
  await eventually('it has flooded for a while', () => flooding.current.sent > sentBefore + 5_000);
  const during = traffic.takeLatencies(others);
  for (const [pid, bytes] of memory) expect(residentBytes(pid) - bytes).toBeLessThan(64 * MEBIBYTE);
  flooding.stop();
  await flood;
  expectUnaffected(during, before);
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
  expect(traffic.drops).toBe(0);
});
