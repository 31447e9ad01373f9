import { setTimeout as delay } from 'node:timers/promises';
import amqp from 'amqplib';
import { expect, inject, it } from 'vitest';
import { shardQueues } from '../../src/broker/shard.ts';
import { connectFleet } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

const DEVICES = 80;
const LINES = 10;
/** How long a backend takes for a line; it takes one after the other. */
const WORK_MS = 5;

it('one backend for each shard keeps the order of every device, and all together take more than one could', async () => {
  const [alone, together] = [await takeAll(1), await takeAll(4)];
  // A quarter of the time, but for how unevenly so few connections fall on the shards.
  expect(together.elapsedMs).toBeLessThan(alone.elapsedMs / 2);
  expect(together.queues).toBe(4);
});

/** Devices send their lines; then backends, one for each shard, take them. */
async function takeAll(shards: number) {
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: { OWSLA_AMQP_SHARDS: String(shards) },
  });
  const fleet = await connectFleet(gateway.port, DEVICES);
  await Promise.all(
    fleet.map(async (device, index) => {
      for (let i = 0; i < LINES; i++) await device.send(`${index} ${i}`);
    }),
  );
  const queues = shardQueues(gateway.names.fromDevice, shards);
  const broker = await amqp.connect(inject('amqpUrl'));
  await using _closed = { [Symbol.asyncDispose]: () => broker.close() };
  const ready = async () => {
    const channel = await broker.createChannel();
    const counts = await Promise.all(
      queues.map(async (queue) => (await channel.checkQueue(queue)).messageCount),
    );
    await channel.close();
    return counts.reduce((sum, count) => sum + count, 0) === DEVICES * LINES;
  };
  await eventually('all lines are in the queues', ready);

  const seen = new Map<string, { queue: string; seqs: number[] }>();
  let taken = 0;
  const startMs = performance.now();
  for (const queue of queues) {
    const channel = await broker.createChannel();
    await channel.prefetch(1);
    await channel.consume(queue, async (message) => {
      const { connection_id, from_device_seq } = message!.properties.headers!;
      const own = seen.get(connection_id) ?? { queue, seqs: [] };
      seen.set(connection_id, own);
      if (own.queue === queue) own.seqs.push(from_device_seq);
      await delay(WORK_MS);
      taken++;
      channel.ack(message!);
    });
  }
  await eventually('all lines', () => taken === DEVICES * LINES, 60_000);
  const elapsedMs = performance.now() - startMs;
  for (const device of fleet) device.socket.destroy();

  // Each connection has all of its lines in order in one of the queues.
  expect(seen.size).toBe(DEVICES);
  for (const { seqs } of seen.values()) expect(seqs).toEqual([...new Array(LINES).keys()]);
  return { elapsedMs, queues: new Set([...seen.values()].map(({ queue }) => queue)).size };
}
