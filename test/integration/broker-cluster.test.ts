import { afterAll, beforeAll, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Traffic } from '../helpers/traffic.ts';

const NODES = ['hare', 'rabbit', 'cony'].map((name) => `${name}@localhost`);

let brokers: PrivateBroker[] = [];

beforeAll(async () => {
  const first = await PrivateBroker.start({ nodeName: NODES[0]!, schedulers: 1 });
  brokers = [first];
  for (const nodeName of NODES.slice(1))
    brokers.push(await PrivateBroker.start({ nodeName, cluster: first, schedulers: 1 }));
});
afterAll(async () => {
  for (const broker of brokers.reverse()) await broker[Symbol.asyncDispose]();
});

test('the broker node that leads from_device is killed: nothing is lost, and it comes back', async () => {
  const urls = brokers.map(({ url }) => url);
  await using gateway = await GatewayProcess.start({
    amqpUrl: urls.join(','),
    workers: 2,
    env: { OWSLA_AMQP_QUEUE_TYPE: 'quorum', OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' },
  });
  const { fromDevice } = gateway.names;
  await using traffic = await Traffic.start(gateway, { amqpUrls: urls });
  await traffic.flows();
  const leader = await leaderOf(fromDevice, brokers[0]!);
  const others = brokers.filter((broker) => broker !== leader);
  await leader.kill();
  await eventually('another node leads', async () => {
    const next = await leaderOf(fromDevice, others[0]!);
    return next !== leader && next;
  });
  await eventually('ready', async () => (await gateway.readiness()).ready, 60_000);
  await traffic.flows();
  await leader.start();
  await eventually('all three serve it again', async () => {
    const [, online] = await queue(fromDevice, leader, 'online');
    return NODES.every((node) => online!.includes(node));
  });
  await traffic.flows();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
});

async function leaderOf(name: string, asked: PrivateBroker): Promise<PrivateBroker> {
  const [, leader] = await queue(name, asked, 'leader');
  return brokers.find(({ nodeName }) => nodeName === leader)!;
}

/** The name of a queue and what the broker says of it. */
async function queue(name: string, asked: PrivateBroker, what: 'leader' | 'online'): Promise<string[]> {
  const listed = await asked.ctl('list_queues', 'name', what);
  const line = listed.split('\n').find((line) => line.startsWith(`${name}\t`));
  return line?.split('\t') ?? [];
}
