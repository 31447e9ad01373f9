import { afterAll, beforeAll, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Traffic } from '../helpers/traffic.ts';

let broker: PrivateBroker;

beforeAll(async () => {
  broker = await PrivateBroker.start();
});
afterAll(async () => {
  await broker?.[Symbol.asyncDispose]();
});

test.each([
  ['stopped and started', 'quorum', () => broker.stop()],
  ['killed and started', 'quorum', () => broker.kill()],
  ['killed and started', 'classic', () => broker.kill()],
])('a broker that is %s under load loses and reorders nothing (%s queues)', async (_, queueType, goAway) => {
  await using gateway = await GatewayProcess.start({
    amqpUrl: broker.url,
    workers: 2,
    env: { OWSLA_AMQP_QUEUE_TYPE: queueType, OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' },
  });
  await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
  await traffic.flows();
  await goAway();
  await eventually('not ready', async () => !(await gateway.readiness()).ready);
  await broker.start();
  await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
  await traffic.flows();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
  expect(traffic.drops).toBe(0);
});
