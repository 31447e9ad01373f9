import { describe, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess, type LogLine } from '../helpers/gateway-process.ts';
import { type Names, namesEnvironment, uniqueNames } from '../helpers/names.ts';
import { declareExchange, declareQueue, deleteExchange, deleteQueue } from '../helpers/queues.ts';

/** Where nothing is configured. */
const DEFAULT_NAMES: Names = {
  fromDevice: 'from_device',
  toDevice: 'to_device',
  undelivered: 'undelivered',
  deadLetter: 'from_device.dead_letter',
  events: 'owsla.events',
  inboxPrefix: 'owsla.inbox.',
};

describe('a queue that exists with other arguments', () => {
  const env = { OWSLA_AMQP_QUEUE_TYPE: 'quorum', OWSLA_AMQP_RECONNECT_MAX_MS: '500' };
  const deadLettersTo = (queue: string) => ({
    'x-dead-letter-exchange': '',
    'x-dead-letter-routing-key': queue,
  });

  test.each([
    {
      which: 'from_device, of another type',
      queueOf: ({ fromDevice }: Names) => fromDevice,
      argumentsOf: ({ deadLetter }: Names) => ({
        ...deadLettersTo(deadLetter),
        'x-overflow': 'reject-publish',
        'x-queue-type': 'classic',
      }),
      says: ['x-queue-type', 'classic', 'quorum'],
    },
    {
      which: 'from_device, without a dead-letter target',
      queueOf: ({ fromDevice }: Names) => fromDevice,
      argumentsOf: () => ({ 'x-queue-type': 'quorum' }),
      says: ['x-dead-letter-exchange', 'none'],
    },
    {
      which: 'to_device',
      queueOf: ({ toDevice }: Names) => toDevice,
      argumentsOf: ({ undelivered }: Names) => deadLettersTo(`${undelivered}.elsewhere`),
      says: ['x-dead-letter-routing-key', '.undelivered.elsewhere'],
    },
    {
      which: 'undelivered',
      queueOf: ({ undelivered }: Names) => undelivered,
      argumentsOf: () => ({ 'x-queue-type': 'classic' }),
      says: ['x-queue-type', 'classic', 'quorum'],
    },
    {
      which: 'the dead letters',
      queueOf: ({ deadLetter }: Names) => deadLetter,
      argumentsOf: () => ({ 'x-queue-type': 'quorum', 'x-message-ttl': 5 }),
      says: ['x-message-ttl', '5'],
    },
  ])(
    'keeps the gateway from being ready until it is gone: $which',
    async ({ queueOf, argumentsOf, says }) => {
      const names = uniqueNames();
      const queue = queueOf(names);
      await declareQueue(queue, argumentsOf(names));
      await using gateway = await GatewayProcess.spawn({ names, env });
      const complaints = () => gateway.log.filter((line) => complainsOf(line, queue));
      await eventually('a complaint', () => complaints().length > 0);
      await eventually('the reason in /readyz', async () => {
        const [worker] = (await gateway.readiness()).workers;
        return worker!.reason.includes(queue);
      });
      expect(complaints()).toHaveLength(1);
      for (const part of says) expect(complaints()[0]!.reason).toContain(part);
      expect((await gateway.readiness()).ready).toBe(false);
      expect(gateway.log.map(({ msg }) => msg)).not.toContain('ready');
      await expect(Device.connect(gateway.port)).rejects.toThrow('ECONNREFUSED');

      await deleteQueue(queue);
      await gateway.ready();
      expect((await gateway.readiness()).ready).toBe(true);
      await expectRoundTrip(gateway);
    },
  );
});

test('an exchange of another type is told of, and its events come once it is gone', async () => {
  const names = uniqueNames();
  await declareExchange(names.events, 'direct');
  await using gateway = await GatewayProcess.start({ names, env: { OWSLA_AMQP_RECONNECT_MAX_MS: '500' } });
  const complaint = await gateway.logged((line) => complainsOf(line, names.events));
  for (const part of ['type', 'direct', 'topic']) expect(complaint.reason).toContain(part);

  await deleteExchange(names.events);
  // What was kept meanwhile is published: node.up, before anybody could listen.
  await eventually('the first event', () => gateway.metric('owsla_events_total').then((count) => count > 0));
  await expectRoundTrip(gateway);
});

describe('on a broker of its own', () => {
  test('a gateway with nothing configured uses the documented names and arguments', async () => {
    await using broker = await PrivateBroker.start();
    const unset = [...Object.keys(namesEnvironment(DEFAULT_NAMES)), 'OWSLA_AMQP_QUEUE_TYPE'];
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      names: DEFAULT_NAMES,
      wrapper: ['env', ...unset.flatMap((name) => ['-u', name])],
    });
    await expectRoundTrip(gateway, broker.url);
    await using backend = await Backend.connect(DEFAULT_NAMES, broker.url);
    await backend.collect();
    using device = await Device.connect(gateway.port);
    await device.send('who am I');
    const node = (await backend.connectionOf('who am I')).slice(-12);

    const quorum = { 'x-queue-type': 'quorum' };
    const deadLettersTo = (queue: string) => ({
      ...quorum,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': queue,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
      'x-delivery-limit': 20,
    });
    const inbox = { ...deadLettersTo('undelivered'), 'x-message-ttl': 60_000, 'x-expires': 86_400_000 };
    expect(await durableQueues(broker)).toEqual({
      from_device: deadLettersTo('from_device.dead_letter'),
      to_device: deadLettersTo('undelivered'),
      undelivered: quorum,
      'from_device.dead_letter': quorum,
      [`owsla.inbox.${node}`]: inbox,
    });
    const exchanges = await rows(broker, 'list_exchanges', 'name', 'type', 'durable', 'auto_delete');
    expect(exchanges.filter(({ name }) => name !== '' && !String(name).startsWith('amq.'))).toEqual([
      { name: 'owsla.events', type: 'topic', durable: true, auto_delete: false },
    ]);
  });
});

/** Name and arguments of each queue that is durable. */
async function durableQueues(broker: PrivateBroker): Promise<Record<string, unknown>> {
  const queues = await rows(broker, 'list_queues', 'name', 'durable', 'arguments');
  const durable = queues.filter((queue) => queue.durable);
  return Object.fromEntries(
    durable.map(({ name, arguments: args }) => [
      name,
      // Some versions print a list of name, type and value, others a map.
      Array.isArray(args) ? Object.fromEntries(args.map(([key, , value]) => [key, value])) : args,
    ]),
  );
}

async function rows(broker: PrivateBroker, ...command: string[]): Promise<Record<string, unknown>[]> {
  const [list, ...columns] = command;
  return JSON.parse(await broker.ctl(list!, '--formatter', 'json', ...columns));
}

/** A line that says, to somebody who looks at warnings, that something of this name is not as it should be. */
function complainsOf({ level, reason }: LogLine, name: string): boolean {
  return level >= 40 && String(reason).startsWith(`${name} exists with `);
}

async function expectRoundTrip(gateway: GatewayProcess, amqpUrl?: string): Promise<void> {
  await using backend = await Backend.connect(gateway.names, amqpUrl);
  await backend.echo();
  using device = await Device.connect(gateway.port);
  await device.send('hello');
  expect(await device.received(1)).toEqual(['hello']);
  expect(await backend.event('connection.opened')).toBeDefined();
}
