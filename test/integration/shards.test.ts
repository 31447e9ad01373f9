import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { connectFleet } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

it('spreads connections over the shards, each with all its lines in order in one of them', async () => {
  const shards = 3;
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: { OWSLA_AMQP_SHARDS: String(shards) },
  });
  const queues = Array.from({ length: shards }, (_, shard) => `${gateway.names.fromDevice}.${shard}`);
  const fleet = await connectFleet(gateway.port, 30);
  const lines = 20;
  await Promise.all(
    fleet.map(async (device, index) => {
      for (let i = 0; i < lines; i++) await device.send(`${index} ${i}`);
    }),
  );

  const seen = new Map<string, { queue: string; seqs: number[] }>();
  await using backend = await Backend.connect(gateway.names);
  let taken = 0;
  for (const queue of queues) {
    await backend.consumeFrom(queue, ({ properties }) => {
      const { connection_id, from_device_seq } = properties.headers as {
        connection_id: string;
        from_device_seq: number;
      };
      const own = seen.get(connection_id) ?? { queue, seqs: [] };
      seen.set(connection_id, own);
      expect(own.queue).toBe(queue);
      own.seqs.push(from_device_seq);
      taken++;
    });
  }
  await eventually('all lines', () => taken === fleet.length * lines);

  expect(seen.size).toBe(fleet.length);
  for (const { seqs } of seen.values()) expect(seqs).toEqual([...new Array(lines).keys()]);
  expect(new Set([...seen.values()].map(({ queue }) => queue)).size).toBe(shards);
  for (const device of fleet) device.socket.destroy();
});
