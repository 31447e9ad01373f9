import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

const WORKERS = 3;
const CONNECTIONS = 90;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const runtimeCan = major > 22 || (major === 22 && minor >= 12);

describe.each([
  ['a socket of its own for each worker, where the runtime can', {}, runtimeCan ? WORKERS : 1],
  ['one socket for all workers', { OWSLA_LISTEN_REUSE_PORT: 'false' }, 1],
])('%s', (_, env, sockets) => {
  test('spreads connections over the workers, and says how', async () => {
    await using gateway = await GatewayProcess.start({ workers: WORKERS, env });
    expect(listeningOn(gateway.port)).toBe(sockets);
    const devices = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => Device.connect(gateway.port)),
    );
    const held = () =>
      Promise.all(
        Array.from({ length: WORKERS }, (_, worker) =>
          gateway.metric('owsla_worker_connections', { worker: String(worker) }),
        ),
      );
    const spread = await eventually('all are counted', async () => {
      const counts = await held();
      return counts.reduce((sum, count) => sum + count) === CONNECTIONS ? counts : undefined;
    });
    // The kernel spreads by a hash: each has about a third, and one with less than a ninth is as good as impossible.
    if (sockets > 1) expect(Math.min(...spread)).toBeGreaterThan(CONNECTIONS / 9);
    for (const device of devices) await device.close();
  });
});

test('a connection that has reached its age is closed in good order, and its device comes back', async () => {
  const env = { OWSLA_ENDPOINT_MAX_AGE_MS: '1500', OWSLA_ENDPOINT_MAX_AGE_JITTER: '50' };
  await using gateway = await GatewayProcess.start({ env });
  const since = performance.now();
  const ages = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const device = await Device.connect(gateway.port);
      await device.closed;
      expect(device.socket.errored).toBeNull();
      return performance.now() - since;
    }),
  );
  expect(Math.min(...ages)).toBeGreaterThan(700);
  expect(Math.max(...ages) - Math.min(...ages)).toBeGreaterThan(200);
  expect(await gateway.metric('owsla_connections_closed_total', { reason: 'max_age' })).toBe(20);
  using again = await Device.connect(gateway.port);
  expect(again.socket.authorized).toBe(true);
});

/** Sockets that listen on a port. */
function listeningOn(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) =>
    readFileSync(table, 'latin1')
      .split('\n')
      .map((row) => row.trim().split(/\s+/))
      .filter(([, address, , state]) => address?.endsWith(local) && state === LISTEN),
  ).length;
}

const LISTEN = '0A';
