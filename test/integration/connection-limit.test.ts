import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

it('refuses what its limit of open files does not allow, keeps serving, and recovers', async () => {
  await using gateway = await GatewayProcess.start({ wrapper: ['prlimit', '--nofile=160'] });
  await using backend = await Backend.connect(gateway.names);
  await backend.echo();

  const devices: Device[] = [];
  let refused = 0;
  for (let i = 0; i < 100; i++) {
    await Device.connect(gateway.port).then(
      (device) => devices.push(device),
      () => refused++,
    );
  }
  expect(refused).toBeGreaterThan(0);
  expect(devices.length).toBeGreaterThan(50);
  expect(await gateway.metric('owsla_connections_refused_total', { reason: 'max_connections' })).toBe(
    refused,
  );
  expect(gateway.log.filter((line) => line.msg === 'new connections are refused')).toHaveLength(1);

  for (const device of devices) await device.send('still here');
  await Promise.all(devices.map((device) => device.received(1)));

  await Promise.all(devices.map((device) => device.close()));
  await eventually('all are gone', async () => (await gateway.metric('owsla_connections')) === 0);
  using newcomer = await Device.connect(gateway.port);
  await newcomer.send('hello');
  await newcomer.received(1);
});
