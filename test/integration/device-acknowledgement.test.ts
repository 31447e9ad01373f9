import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

const acknowledging = { OWSLA_ACK_ENABLED: 'true', OWSLA_ACK_TEMPLATE: 'ok {seq}' };

it('tells a device of every confirmed frame in the end, and of none twice', async () => {
  await using gateway = await GatewayProcess.start({ env: { ...acknowledging, OWSLA_ACK_EVERY: '7' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);

  const count = 100;
  for (let i = 0; i < count; i++) await device.send(`line ${i}`);
  await eventually('the last frame is acknowledged', () => device.text.includes(`ok ${count - 1}`));

  const told = device.text.map((line) => Number(/^ok (\d+)$/.exec(line)?.[1]));
  expect(told).toEqual([...told].sort((a, b) => a - b));
  expect(new Set(told).size).toBe(told.length);
  await eventually('all lines are in the queue', () => backend.lines.length === count);
});

it('does not tear replies apart, and replies keep their order', async () => {
  await using gateway = await GatewayProcess.start({ env: { ...acknowledging, OWSLA_ACK_EVERY: '1' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.echo();
  using device = await Device.connect(gateway.port);

  const lines = Array.from({ length: 200 }, (_, i) => `${i} ${'x'.repeat(i * 40)}`);
  for (const line of lines) await device.send(line);
  const replies = () => device.text.filter((line) => !line.startsWith('ok '));
  await eventually('all replies', () => replies().length === lines.length && device.text.includes('ok 199'));
  expect(replies()).toEqual(lines);
});

it('acknowledges what it has taken before it closes the connection of a device at shutdown', async () => {
  await using gateway = await GatewayProcess.start({
    env: { ...acknowledging, OWSLA_ACK_EVERY: '1000', OWSLA_ACK_INTERVAL_MS: '1h' },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('one');
  await device.send('two');
  await backend.connectionOf('two');
  expect(await gateway.stop()).toBe(0);
  await device.closed;
  expect(device.text).toEqual(['ok 1']);
});
