import { setTimeout as delay } from 'node:timers/promises';
import { connect, type Message } from 'amqplib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ignoreLateFrames } from '../../src/broker/late-frames.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Publisher } from '../helpers/publisher.ts';
import { declareQueue, deleteQueue } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

const QUEUE_TYPES = ['classic', 'quorum'];
const CONSUMERS = 8;
const CONSUMER_TIMEOUT_MS = 2_000;

let broker: PrivateBroker;

beforeAll(async () => {
  broker = await PrivateBroker.start();
});
afterAll(async () => {
  await broker?.[Symbol.asyncDispose]();
});

/** Before that, RabbitMQ 3.10 may end a connection that consumes from a quorum queue which was declared just now (541). */
const sinceReady = ({ log }: GatewayProcess) => log.slice(log.findIndex(({ msg }) => msg === 'ready'));

const channelsLost = (gateway: GatewayProcess) =>
  sinceReady(gateway)
    .filter(({ msg }) => msg === 'broker channel lost')
    .map(({ worker, channel }) => ({ worker, channel }));

async function expectAllIsWell(gateway: GatewayProcess, traffic: Traffic): Promise<void> {
  await eventually('ready', async () => (await gateway.readiness()).ready);
  await traffic.flows();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
  expect(sinceReady(gateway).filter(({ msg }) => msg === 'broker connection lost')).toEqual([]);
}

test.each(QUEUE_TYPES)(
  'an ack that the broker cannot place costs its channel and nothing else (%s queues)',
  async (queueType) => {
    await using tap = await AmqpTap.start(broker.url);
    await using gateway = await GatewayProcess.start({
      amqpUrl: tap.url,
      workers: 2,
      env: { OWSLA_AMQP_QUEUE_TYPE: queueType },
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
    await traffic.flows();
    tap.spoilNextAck(' consume');
    const lost = await gateway.logged('broker channel lost');
    expect(lost.reason).toContain('unknown delivery tag');
    await traffic.flows();
    expect(channelsLost(gateway)).toHaveLength(1);
    await expectAllIsWell(gateway, traffic);
  },
);

test('a publish that the broker cannot route costs its channel, and no line', async () => {
  await using tap = await AmqpTap.start(broker.url);
  await using gateway = await GatewayProcess.start({ amqpUrl: tap.url, workers: 2 });
  await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
  await traffic.flows();
  tap.spoilNextPublish(gateway.names.fromDevice);
  const lost = await gateway.logged('broker channel lost');
  expect(lost).toMatchObject({ channel: 'producer', reason: expect.stringContaining('no-such-exchange') });
  await traffic.flows();
  expect(channelsLost(gateway)).toHaveLength(1);
  expect(await gateway.metric('owsla_frames_republished_total')).toBeGreaterThan(0);
  await expectAllIsWell(gateway, traffic);
});

test('a stranger puts a queue that differs in the place of to_device: the rest goes on, and it is named', async () => {
  await using gateway = await GatewayProcess.start({
    amqpUrl: broker.url,
    workers: 2,
    // Time for the stranger to be the first to declare it.
    env: { OWSLA_AMQP_RECONNECT_MIN_MS: '2s', OWSLA_AMQP_RECONNECT_MAX_MS: '2s' },
  });
  await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], replies: 'inbox' });
  const { toDevice } = gateway.names;
  await traffic.flows();
  const tells = (worker: number) =>
    gateway.log.some(
      ({ msg, worker: by, reason }) =>
        msg === 'queue or exchange differs' &&
        by === worker &&
        String(reason).includes(`${toDevice} exists with`),
    );
  // More than once: a worker may be the first to declare it after all.
  await eventually(
    'both name the queue',
    async () => {
      await replaceQueue(toDevice);
      for (let i = 0; i < 50 && !(tells(0) && tells(1)); i++) await delay(100);
      return tells(0) && tells(1);
    },
    60_000,
  );
  await traffic.flows();
  await eventually('both say why they are not ready', async () =>
    (await gateway.readiness()).workers.every(({ ready, reason }) => !ready && reason.includes(toDevice)),
  );

  await deleteQueue(toDevice, broker.url);
  await eventually('ready', async () => (await gateway.readiness()).ready);
  traffic.backend.route = 'shared';
  await traffic.flows();
  const lost = new Set(channelsLost(gateway).map(({ worker, channel }) => `${worker} ${channel}`));
  for (const name of lost) expect(name).toMatch(/^[01] consumer-\d$/);
  expect(lost.size).toBe(2 * CONSUMERS);
  await expectAllIsWell(gateway, traffic);
});

test.each(QUEUE_TYPES)(
  'a reply that is held for longer than the consumer_timeout costs its channel and nothing else (%s queues)',
  async (queueType) => {
    // What consumer_timeout in rabbitmq.conf sets, and how often the broker looks; both hold for new channels.
    const set = (key: string, ms: number) =>
      broker.ctl('eval', `application:set_env(rabbit, ${key}, ${ms}).`);
    await set('consumer_timeout', CONSUMER_TIMEOUT_MS);
    await set('channel_tick_interval', CONSUMER_TIMEOUT_MS / 4);
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      workers: 2,
      // The missing one is to be waited for, however slow the machine.
      env: { OWSLA_AMQP_QUEUE_TYPE: queueType, OWSLA_REPLY_GAP_TIMEOUT_MS: '5m' },
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
    await traffic.flows();
    // The next ones wait for it at the gateway, unacknowledged.
    const [held] = traffic.devices;
    traffic.backend.withholdNext(held!.current.session);
    await eventually('a reply is withheld', () => traffic.backend.withheld === 1);
    const receivedBefore = held!.current.received;
    const lost = await gateway.logged('broker channel lost');
    expect(lost.channel).toBe('inbox');
    expect(lost.reason).toContain('delivery acknowledgement');
    await gateway.nextLogged(({ msg }) => msg === 'broker channel lost');
    await traffic.flows();
    expect(new Set(channelsLost(gateway).map(({ worker, channel }) => `${worker} ${channel}`)).size).toBe(1);
    expect(held!.current.received).toBe(receivedBefore);
    traffic.backend.release();
    await eventually('the device gets what was held', () => held!.current.received > receivedBefore);
    await expectAllIsWell(gateway, traffic);
  },
);

test.each(QUEUE_TYPES)(
  'what comes for a channel that the broker has closed never costs the connection (%s queues)',
  async (queueType) => {
    const CLOSES = 500;
    const queue = `late-${queueType}`;
    const connection = await connect(broker.url, { noDelay: true });
    const errors: unknown[] = [];
    connection.on('error', (error) => errors.push(error));
    ignoreLateFrames(connection);
    await declareQueue(queue, { 'x-queue-type': queueType }, broker.url);
    await using publisher = await Publisher.connect(broker.url);
    let isOver = false;
    const publishing = (async () => {
      while (!isOver) {
        for (let n = 0; n < 20; n++) publisher.publish(queue, 'line', { persistent: true });
        await publisher.flushed();
      }
    })();
    try {
      for (let closes = 0; closes < CLOSES; closes++) {
        const channel = await connection.createChannel();
        const closed = new Promise((resolve) => channel.on('close', resolve));
        channel.on('error', () => {}); // It says why it is closed.
        await channel.prefetch(200);
        await channel.consume(queue, () => {}, { consumerTag: 'always the same' });
        await delay(3 * Math.random());
        channel.ack({ fields: { deliveryTag: 1_000_000 } } as Message);
        await closed;
        expect(errors).toEqual([]);
      }
    } finally {
      isOver = true;
      await publishing;
      await connection.close().catch(() => {});
    }
  },
);

/** Where the new queue is there at once, the broker moves consumers over, and tells them nothing from then on. */
const CANCELLED_WITHIN_MS = 10;

/** Deletes a queue and declares one of that name with other arguments, unless somebody else is quicker. */
async function replaceQueue(queue: string): Promise<void> {
  const connection = await connect(broker.url, { noDelay: true });
  try {
    const channel = await connection.createChannel();
    channel.on('error', () => {}); // Somebody was; it also rejects the declaration.
    await channel.deleteQueue(queue);
    await delay(CANCELLED_WITHIN_MS);
    const other = { durable: true, arguments: { 'x-queue-type': 'classic', 'x-max-length': 9 } };
    await channel.assertQueue(queue, other).catch(() => {});
  } finally {
    await connection.close();
  }
}
