import { connect } from 'node:net';
import { finished } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { openSockets } from '../helpers/open-descriptors.ts';
import { clientHello, RawClient } from '../helpers/raw-client.ts';

const refusedFor = (gateway: GatewayProcess, reason: string) =>
  gateway.metric('owsla_connections_refused_total', { reason });

describe('handshake slots', () => {
  test('are not taken by clients that send nothing, or a byte now and then', async () => {
    const env = { OWSLA_LISTEN_ACCEPTORS: '1', OWSLA_TLS_HANDSHAKE_TIMEOUT_MS: '3000' };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await backend.echo();
    const worker = (await gateway.readiness()).workers[0]!.pid;
    const atRest = openSockets(worker);
    const hello = await clientHello();
    const slow = await Promise.all(Array.from({ length: 200 }, () => RawClient.connect(gateway.port)));
    const drip = setInterval(() => {
      for (const [index, client] of slow.entries())
        if (index % 2 === 0) client.socket.write(hello.subarray(0, 1));
    }, 200);
    using device = await Device.connect(gateway.port);
    await device.send('in, past all of them');
    expect(await device.received(1)).toEqual(['in, past all of them']);
    expect(await gateway.metric('owsla_handshakes_in_progress')).toBe(0);
    clearInterval(drip);
    await within('their deadline', Promise.all(slow.map((client) => client.closed)));
    await device.close();
    await eventually('no descriptor is left', () => openSockets(worker) === atRest);
  });

  test('come free when a client leaves its handshake lying; past the line a newcomer is reset', async () => {
    const env = {
      OWSLA_LISTEN_ACCEPTORS: '1',
      OWSLA_LISTEN_ACCEPT_QUEUE: '1',
      OWSLA_TLS_HANDSHAKE_TIMEOUT_MS: '8000',
      // Longer than the slot is held by the one that lies.
      OWSLA_ADMISSION_MAX_WAIT_MS: '5s',
    };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    using stuck = await RawClient.connect(gateway.port);
    stuck.socket.write(await clientHello());
    await eventually('its slot', async () => (await gateway.metric('owsla_handshakes_in_progress')) === 1);
    const waiting = Device.connect(gateway.port);
    await eventually('one in line', async () => (await gateway.metric('owsla_admission_waiting')) === 1);

    using newcomer = await RawClient.connect(gateway.port);
    newcomer.socket.write(await clientHello());
    expect(await within('reset', newcomer.closed)).toBe('ECONNRESET');
    expect(await refusedFor(gateway, 'accept_queue_full')).toBe(1);
    using device = await waiting;
    expect(device.socket.authorized).toBe(true);
    // The stuck one was not cut off for it: its own deadline is what ends it.
    await within('its deadline', stuck.closed);
    const event = await backend.event('connection.closed', (e) => e.remote_port === stuck.localPort);
    expect(event).toMatchObject({ reason: 'handshake_timeout', established: false });
    // Who was reset before TLS makes no event.
    expect(backend.events.filter(({ remote_port }) => remote_port === newcomer.localPort)).toEqual([]);
  });

  test('are not spent on a client that has gone while it waited', async () => {
    const env = { OWSLA_LISTEN_ACCEPTORS: '1' };
    await using gateway = await GatewayProcess.start({ env });
    const hello = await clientHello();
    using stuck = await RawClient.connect(gateway.port);
    stuck.socket.write(hello);
    await eventually('its slot', async () => (await gateway.metric('owsla_handshakes_in_progress')) === 1);
    const impatient = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(gateway.port)));
    for (const { socket } of impatient) socket.write(hello);
    await eventually('the line', async () => (await gateway.metric('owsla_admission_waiting')) === 50);
    for (const { socket } of impatient) socket.end();
    await eventually('nobody in line', async () => (await gateway.metric('owsla_admission_waiting')) === 0);
    stuck.socket.destroy();
    using device = await Device.connect(gateway.port);
    await device.close();
    // The stuck one's and the device's.
    expect(await gateway.metric('owsla_handshakes_started_total')).toBe(2);
    expect(await refusedFor(gateway, 'gave_up')).toBe(50);
  });

  test('are not spent on clients that had gone before they were accepted', async () => {
    const env = { OWSLA_ADDRESS_MAX_FAILURES: '10' };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    const worker = (await gateway.readiness()).workers[0]!.pid;
    const atRest = openSockets(worker);
    const hello = await clientHello();
    // The kernel takes them all, as it does while a worker is busy.
    process.kill(worker, 'SIGSTOP');
    const impatient = await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(gateway.port)));
    await Promise.all(impatient.map(({ socket }) => finished(socket.end(hello), { readable: false })));
    for (const { socket } of impatient.slice(50)) socket.resetAndDestroy();
    process.kill(worker, 'SIGCONT');
    using device = await eventually('a device is served', () =>
      Device.connect(gateway.port).catch(() => undefined),
    );
    await eventually('their end', () => openSockets(worker) === atRest + 1);
    expect(await gateway.metric('owsla_handshakes_started_total')).toBe(1);
    // They make no event, and nothing that counts against their address.
    await backend.event('connection.opened', (e) => e.remote_port === device.socket.localPort);
    expect(backend.events.filter(({ reason }) => reason !== undefined)).toEqual([]);
    expect(await refusedFor(gateway, 'address_penalty')).toBe(0);
  });
});

test('of too many silent clients those go that were silent longest, and a device gets in', async () => {
  const env = { OWSLA_LISTEN_ACCEPT_QUEUE: '3' };
  await using gateway = await GatewayProcess.start({ env });
  const worker = (await gateway.readiness()).workers[0]!.pid;
  const atRest = openSockets(worker);
  const silent: RawClient[] = [];
  // One that is young may yet say something.
  await eventually('some have gone', async () => {
    silent.push(await RawClient.connect(gateway.port));
    return (await refusedFor(gateway, 'no_hello')) >= 5;
  });
  expect(await within('reset of the first', silent[0]!.closed)).toBe('ECONNRESET');
  using device = await Device.connect(gateway.port);
  expect(device.socket.authorized).toBe(true);
  await device.close();
  for (const client of silent) client.socket.destroy();
  await eventually('no descriptor is left', () => openSockets(worker) === atRest);
});

test.each([1, 4])('a fixed rate holds for the machine: %d workers', async (workers) => {
  const RATE = 20;
  const env = { OWSLA_ADMISSION_FULL_RATE: String(RATE), OWSLA_ADMISSION_MAX_WAIT_MS: '500' };
  await using gateway = await GatewayProcess.start({ workers, env });
  const worker = (await gateway.readiness()).workers[0]!.pid;
  const atRest = openSockets(worker);
  // Sixteen clients that come back as soon as they are in, or were refused.
  let isOver = false;
  const client = async () => {
    while (!isOver) {
      const device = await Device.connect(gateway.port).catch(() => undefined);
      await device?.close();
    }
  };
  const clients = Array.from({ length: 16 }, client);
  const started = () => gateway.metric('owsla_handshakes_started_total');
  // The first second's worth may start at once.
  const burst = await eventually('the burst', async () => {
    const count = await started();
    return count >= 2 * RATE && count;
  });
  const from = performance.now();
  await eventually('six more seconds of it', async () => (await started()) >= burst + 6 * RATE);
  const tookMs = performance.now() - from;
  isOver = true;
  await Promise.all(clients);
  // Those that were under way when it was looked at aside: the machine may be slower, but never faster.
  expect(((await started()) - burst - 16) / (tookMs / 1_000)).toBeLessThan(1.15 * RATE);
  await eventually('no descriptor is left', () => openSockets(worker) === atRest);
});

test('a flood that is refused leaves nothing behind, and is logged once', async () => {
  const env = { OWSLA_ADMISSION_FULL_RATE: '1', OWSLA_ADMISSION_MAX_WAIT_MS: '50' };
  await using gateway = await GatewayProcess.start({ env });
  const worker = (await gateway.readiness()).workers[0]!.pid;
  const atRest = openSockets(worker);
  const hello = await clientHello();
  let resets = 0;
  for (let round = 0; round < 10; round++) {
    const ends = Array.from({ length: 100 }, async () => {
      const socket = connect({ host: '127.0.0.1', port: gateway.port });
      socket.write(hello);
      const end = new Promise<string | undefined>((resolve) => {
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
        socket.once('data', () => {
          socket.destroy();
          resolve('let in');
        });
      });
      if ((await end) === 'ECONNRESET') resets++;
    });
    await within('an end for each', Promise.all(ends));
  }
  expect(resets).toBeGreaterThan(900);
  expect(await refusedFor(gateway, 'rate_limit')).toBe(resets);
  const lines = gateway.log.filter((line) => line.msg === 'new connections are refused');
  expect(lines.length).toBeLessThan(20);
  expect(lines[0]).toMatchObject({ reason: 'rate_limit', remoteAddress: '127.0.0.1' });
  await eventually('no descriptor is left', () => openSockets(worker) === atRest);
});
