import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

it('gives the replies in the inbox of a crashed worker their fate at once', async () => {
  // Long enough that only the successor of the worker can be what empties the inbox.
  await using gateway = await GatewayProcess.start({ env: { OWSLA_AMQP_INBOX_TTL_MS: '20m' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('hello');
  const id = await backend.connectionOf('hello');
  const inbox: string = backend.lines[0]!.properties.replyTo;
  const [before] = (await gateway.readiness()).workers;

  process.kill(before!.pid, 'SIGKILL');
  await device.closed;
  for (let seq = 0; seq < 10; seq++) backend.reply(id, `to the inbox ${seq}`, { seq, queue: inbox });
  for (let seq = 10; seq < 20; seq++) backend.reply(id, `to the shared queue ${seq}`, { seq });
  await backend.flushed();

  const undelivered = await backend.undeliveredCount(20);
  expect(new Set(undelivered.map(({ properties }) => properties.headers!.reason))).toEqual(
    new Set(['not_connected']),
  );
  await eventually('a new worker is ready', async () => {
    const { ready, workers } = await gateway.readiness();
    return ready && workers[0]!.pid !== before!.pid;
  });
  expect(await backend.depth(inbox)).toBe(0);
});
