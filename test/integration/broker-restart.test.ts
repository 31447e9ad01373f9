import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { shardQueues } from '../../src/broker/shard.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { metadataWritten, queueDepth } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

let broker: PrivateBroker;

beforeAll(async () => {
  broker = await PrivateBroker.start();
});
afterEach(() => broker.start());
afterAll(async () => {
  await broker?.[Symbol.asyncDispose]();
});

const goAway = {
  stopped: () => broker.stop(),
  killed: async () => {
    await metadataWritten();
    await broker.kill();
  },
};

// Of the replies on the shared queue, half are forwarded.
test.each([
  ['stopped', 'quorum', 'inbox'],
  ['stopped', 'classic', 'shared'],
  ['killed', 'quorum', 'shared'],
  ['killed', 'classic', 'inbox'],
] as const)(
  'a broker that is %s and started under load loses and reorders nothing (%s queues, replies by %s)',
  async (how, queueType, replies) => {
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      workers: 2,
      env: { OWSLA_AMQP_QUEUE_TYPE: queueType, OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' },
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], replies });
    await traffic.flows();
    await goAway[how]();
    await eventually('not ready', async () => !(await gateway.readiness()).ready);
    await broker.start();
    await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
    expect(report.replies.undelivered).toEqual({});
    expect(traffic.drops).toBe(0);
  },
);

test.each([
  ['killed', 'quorum', 1],
  ['killed', 'quorum', 3],
  ['stopped', 'classic', 1],
  ['killed', 'classic', 1],
] as const)(
  'what a broker had stored and not confirmed when it was %s comes again, and says so (%s queues, %i shards)',
  async (how, queueType, shards) => {
    const STORED = 400;
    await using tap = await AmqpTap.start(broker.url);
    await using gateway = await GatewayProcess.start({
      amqpUrl: tap.url,
      workers: 2,
      env: {
        OWSLA_AMQP_QUEUE_TYPE: queueType,
        OWSLA_AMQP_RECONNECT_MAX_MS: '500ms',
        OWSLA_AMQP_SHARDS: String(shards),
      },
    });
    const queues = shardQueues(gateway.names.fromDevice, shards);
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], shards });
    await traffic.flows();
    // A backend that had lost its own connection could not tell whose copies it gets.
    await traffic.backend.pause();
    tap.hold(' publish');
    for (const queue of queues)
      await eventually(
        `lines are stored in ${queue}`,
        async () => (await queueDepth(queue, broker.url))! > STORED / shards,
      );
    await goAway[how]();
    await broker.start();
    traffic.backend.resume();
    await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report.lines.marked).toBeGreaterThan(STORED / 2);
    expect(await gateway.metric('owsla_frames_republished_total')).toBeGreaterThanOrEqual(
      report.lines.marked,
    );
    expect(traffic.drops).toBe(0);
  },
);
