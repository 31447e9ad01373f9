import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { RawClient } from '../helpers/raw-client.ts';

const REPORTED_EACH_MS = 50;

const refusedFor = (gateway: GatewayProcess, reason: string) =>
  gateway.metric('owsla_connections_refused_total', { reason });

const from = (localAddress: string) => ({ localAddress }) as object;

test.each([1, 3])('an address holds so many connections, over %d workers', async (workers) => {
  const LIMIT = 12;
  const env = {
    OWSLA_ADDRESS_MAX_CONNECTIONS: String(LIMIT),
    OWSLA_ADDRESS_EXEMPT: '127.0.0.3,192.0.2.0/24',
  };
  await using gateway = await GatewayProcess.start({ workers, env });
  const devices: Device[] = [];
  let refused = 0;
  // As many as workers that know nothing of each other would let in.
  for (let i = 0; i < LIMIT * workers + 10; i++) {
    await Device.connect(gateway.port, from('127.0.0.2')).then(
      (device) => devices.push(device),
      () => refused++,
    );
    // What one worker lets in the others know after its next report.
    if (devices.length < LIMIT + workers) await sleep(2 * REPORTED_EACH_MS);
  }
  expect(devices.length).toBeGreaterThanOrEqual(LIMIT);
  expect(devices.length).toBeLessThan(1.5 * LIMIT);
  expect(await refusedFor(gateway, 'address_connections')).toBe(refused);

  using exempt = await Device.connect(gateway.port, from('127.0.0.3'));
  expect(exempt.socket.authorized).toBe(true);
  using elsewhere = await Device.connect(gateway.port, from('127.0.0.4'));
  expect(elsewhere.socket.authorized).toBe(true);
  await Promise.all(devices.map((device) => device.close()));
  using again = await eventually('there is room again', () =>
    Device.connect(gateway.port, from('127.0.0.2')).catch(() => undefined),
  );
  expect(again.socket.authorized).toBe(true);
});

test('an address that fails too often is shut out for a while, and others are not', async () => {
  const env = {
    OWSLA_ADDRESS_MAX_FAILURES: '3',
    OWSLA_ADDRESS_PENALTY_MS: '1500',
    OWSLA_ADDRESS_FLAP_MS: '0',
  };
  await using gateway = await GatewayProcess.start({ env });
  for (let i = 0; i < 4; i++) {
    using client = await RawClient.connect(gateway.port);
    client.socket.write('GET / HTTP/1.1\r\n\r\n');
    await within('close', client.closed);
  }
  await expect(Device.connect(gateway.port)).rejects.toThrow();
  expect(await refusedFor(gateway, 'address_penalty')).toBe(1);
  using other = await Device.connect(gateway.port, from('127.0.0.2'));
  expect(other.socket.authorized).toBe(true);
  using forgiven = await eventually('it is let in again', () =>
    Device.connect(gateway.port).catch(() => undefined),
  );
  expect(forgiven.socket.authorized).toBe(true);
});

test('a device that connects again and again is held to a rate', async () => {
  const env = { OWSLA_ADDRESS_CONNECT_RATE: '1', OWSLA_ADDRESS_CONNECT_BURST: '5' };
  await using gateway = await GatewayProcess.start({ env });
  let accepted = 0;
  const started = performance.now();
  for (let i = 0; i < 30; i++) {
    await Device.connect(gateway.port).then(
      async (device) => {
        accepted++;
        await device.close();
      },
      () => {},
    );
  }
  const seconds = (performance.now() - started) / 1_000;
  expect(accepted).toBeGreaterThanOrEqual(5);
  expect(accepted).toBeLessThanOrEqual(6 + seconds);
  expect(await refusedFor(gateway, 'address_rate')).toBe(30 - accepted);
});
