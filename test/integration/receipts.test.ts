import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

it('tells the backend what became of a reply that asked for a receipt', async () => {
  await using gateway = await GatewayProcess.start({ env: { OWSLA_REPLY_GAP_TIMEOUT_MS: '300' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('hello');
  const id = await backend.connectionOf('hello');
  const receipt = (seq: number | null) =>
    backend.event('reply.receipt', (event) => event.to_device_seq === seq);
  const asking = { receipt: true };

  backend.reply(id, 'zero', { seq: 0, headers: asking });
  expect(await receipt(0)).toMatchObject({ connection_id: id, outcome: 'delivered' });

  backend.reply(id, 'one', { seq: 1, headers: { ...asking, expires_at: Date.now() - 1 } });
  expect(await receipt(1)).toMatchObject({ outcome: 'expired' });

  // Parked behind 2, and expired by the time that 2 is given up.
  backend.reply(id, 'three', { seq: 3, headers: { ...asking, expires_at: Date.now() + 100 } });
  expect(await receipt(3)).toMatchObject({ outcome: 'expired' });

  backend.reply(id, 'quiet', { seq: 4 });
  await device.received(2);
  await device.close();
  await backend.event('connection.closed');
  backend.reply(id, 'late', { headers: asking });
  expect(await receipt(null)).toMatchObject({ outcome: 'not_connected' });

  expect(device.text).toEqual(['zero', 'quiet']);
  expect(backend.events.filter((event) => event.event === 'reply.receipt')).toHaveLength(4);
});
