import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Traffic } from '../helpers/traffic.ts';

const WITHOUT_MAJORITY_MS = 5_000;
const NODES = ['hare', 'rabbit', 'cony'].map((name) => `${name}@localhost`);

test('the broker node that leads from_device is killed: nothing is lost, and it comes back', async () => {
  await using cluster = await Cluster.start();
  const { brokers, urls } = cluster;
  await using gateway = await startGateway(urls);
  const { fromDevice } = gateway.names;
  // Half of the replies are forwarded from worker to worker.
  await using traffic = await Traffic.start(gateway, { amqpUrls: urls, replies: 'shared' });
  await traffic.flows();
  const leader = await cluster.leaderOf(fromDevice, brokers[0]!);
  const others = brokers.filter((broker) => broker !== leader);
  await leader.kill();
  await eventually('another node leads', async () => {
    // The node may not answer while it finds out that another is gone.
    const next = await cluster.leaderOf(fromDevice, others[0]!).catch(() => leader);
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
  await expectNothingLost(traffic);
}, 240_000);

test('two of three broker nodes are killed and come back: nothing is lost, and lines keep their order', async () => {
  await using cluster = await Cluster.start();
  const { brokers, urls } = cluster;
  await using gateway = await startGateway(urls);
  await using traffic = await Traffic.start(gateway, { amqpUrls: urls });
  await traffic.flows();
  const [, ...others] = brokers;
  await Promise.all(others.map((broker) => broker.kill()));
  await eventually('not ready', async () => !(await gateway.readiness()).ready);
  await delay(WITHOUT_MAJORITY_MS);
  await Promise.all(others.map((broker) => broker.start()));
  await eventually('ready', async () => (await gateway.readiness()).ready, 60_000);
  await traffic.flows();
  await expectNothingLost(traffic);
}, 240_000);

function startGateway(urls: readonly string[]): Promise<GatewayProcess> {
  return GatewayProcess.start({
    amqpUrl: urls.join(','),
    workers: 2,
    env: { OWSLA_AMQP_QUEUE_TYPE: 'quorum', OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' },
  });
}

async function expectNothingLost(traffic: Traffic): Promise<void> {
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
}

/** Three brokers; each attempt at the test has its own. */
class Cluster {
  readonly brokers: PrivateBroker[] = [];

  static async start(): Promise<Cluster> {
    const cluster = new Cluster();
    for (const nodeName of NODES) {
      const first = cluster.brokers[0];
      cluster.brokers.push(
        await PrivateBroker.start({ nodeName, schedulers: 1, ...(first && { cluster: first }) }),
      );
    }
    return cluster;
  }

  get urls(): string[] {
    return this.brokers.map(({ url }) => url);
  }

  async leaderOf(name: string, asked: PrivateBroker): Promise<PrivateBroker> {
    const [, leader] = await queue(name, asked, 'leader');
    return this.brokers.find(({ nodeName }) => nodeName === leader)!;
  }

  /** The node that the others joined ends last. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.brokers.reverse()) await broker[Symbol.asyncDispose]();
  }
}

/** The name of a queue and what the broker says of it. */
async function queue(name: string, asked: PrivateBroker, what: 'leader' | 'online'): Promise<string[]> {
  const listed = await asked.ctl('list_queues', 'name', what);
  const line = listed.split('\n').find((line) => line.startsWith(`${name}\t`));
  return line?.split('\t') ?? [];
}
