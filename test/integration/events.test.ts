import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { clientAuthEnvironment, clientCertificate } from '../helpers/client-certificates.ts';
import { problemsOf } from '../helpers/contract.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

describe('a connection', () => {
  test('tells of its begin and its end, with counts of both directions', async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    const before = new Date().toISOString();
    using device = await Device.connect(gateway.port);
    await device.write('hello\nwith CR\r\n\n');
    const connectionId = await backend.connectionOf('hello');
    const remote = { remote_address: '127.0.0.1', remote_port: device.socket.localPort };
    const common = { connection_id: connectionId, node_id: connectionId.slice(-12), ...remote };

    const opened = await backend.event('connection.opened');
    const { name: cipher } = device.socket.getCipher();
    expect(opened).toMatchObject({ ...common, tls: { protocol: 'TLSv1.3', cipher, resumed: false } });

    backend.reply(connectionId, 'one', { seq: 0 });
    backend.reply(connectionId, 'three', { seq: 1 });
    backend.reply(connectionId, 'unordered');
    await device.received(3);
    await eventually('three lines', () => backend.lines.length === 3);
    await device.close();

    const closed = await backend.event('connection.closed');
    expect(closed).toMatchObject({
      ...common,
      reason: 'peer_closed',
      established: true,
      frames_received: 3,
      bytes_received: 'hellowith CR'.length,
      frames_sent: 3,
      bytes_sent: 'onethreeunordered'.length,
      last_from_device_seq: 2,
      last_to_device_seq: 1,
    });
    for (const { at } of [opened, closed]) {
      expect(at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      const inOrder = [before, at, new Date().toISOString()];
      expect(inOrder).toEqual([...inOrder].sort());
    }
    expectWellFormed(backend);
  });

  test('on which nothing was said has no last sequence numbers', async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port, { maxVersion: 'TLSv1.2' });
    await device.close();
    expect(await backend.event('connection.closed')).toMatchObject({
      reason: 'peer_closed',
      frames_received: 0,
      bytes_received: 0,
      frames_sent: 0,
      bytes_sent: 0,
      last_from_device_seq: null,
      last_to_device_seq: null,
    });
    expect(await backend.event('connection.opened')).toMatchObject({ tls: { protocol: 'TLSv1.2' } });
    expectWellFormed(backend);
  });

  test('that hit a limit names it, and the value', async () => {
    await using gateway = await GatewayProcess.start({ env: { OWSLA_LISTEN_MAX_FRAME_BYTES: '100' } });
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port);
    await device.write(`${'x'.repeat(100)}\n${'x'.repeat(123)}\n`);
    expect(await backend.event('connection.closed')).toMatchObject({
      reason: 'frame_too_large',
      detail: expect.stringContaining('100'),
      limit: 100,
      value: 123,
      frames_received: 1,
      last_from_device_seq: 0,
    });
    expectWellFormed(backend);
  });

  test('that did not get past the handshake is told of as not established', async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await Backend.connect(gateway.names);
    const socket = connect(gateway.port, '127.0.0.1');
    await once(socket, 'connect');
    const { localPort } = socket;
    socket.on('error', () => {});
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
    const closed = await backend.event('connection.closed');
    expect(closed).toMatchObject({ reason: 'tls_error', established: false, remote_port: localPort });
    expect(backend.events.map(({ event }) => event)).not.toContain('connection.opened');
    expectWellFormed(backend);
  });

  test('of a device with a certificate has its device_id in every event', async () => {
    await using gateway = await GatewayProcess.start({
      env: { ...clientAuthEnvironment('required'), OWSLA_REPLY_GAP_TIMEOUT_MS: '300' },
    });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    using device = await Device.connect(gateway.port, await clientCertificate({ commonName: 'meter-0815' }));
    await device.send('hello');
    const connectionId = await backend.connectionOf('hello');
    backend.reply(connectionId, 'after a gap', { seq: 7 });
    await device.received(1);
    await device.close();

    await backend.event('connection.closed');
    const events = backend.events.filter(({ event }) => event !== 'node.up');
    expect(events.map(({ event }) => event)).toEqual(['connection.opened', 'reply.gap', 'connection.closed']);
    const [opened, gap, closed] = events;
    const device_id = 'meter-0815';
    expect(opened).toMatchObject({ connection_id: connectionId, device_id });
    expect(gap).toMatchObject({ connection_id: connectionId, device_id, from_seq: 0, to_seq: 6 });
    expect(closed).toMatchObject({ connection_id: connectionId, device_id, last_to_device_seq: 7 });
    expectWellFormed(backend);
  });
});

test('a node tells when it starts and, after the ends of its connections, when it stops', async () => {
  await using first = await GatewayProcess.start();
  await eventually('its own event', async () => (await first.metric('owsla_events_total')) === 1);
  await using backend = await Backend.connect(first.names);
  await using second = await GatewayProcess.start({ names: first.names, workers: 2 });
  const up = () => backend.events.filter(({ event }) => event === 'node.up').map(({ node_id }) => node_id);
  await eventually('two nodes up', () => up().length === 2);
  expect(new Set(up()).size).toBe(2);

  const devices = await Promise.all(Array.from({ length: 20 }, () => Device.connect(second.port)));
  const opened = () => backend.events.filter(({ event }) => event === 'connection.opened').length;
  await eventually('all opened', () => opened() === devices.length);
  expect(await second.stop()).toBe(0);
  await Promise.all(devices.map((device) => device.closed));
  for (const node of up()) {
    await backend.event('node.down', ({ node_id }) => node_id === node);
    const told = backend.events.filter(({ node_id }) => node_id === node).map(({ event }) => event);
    const connections = told.filter((event) => event === 'connection.opened').length;
    const inOrder = (event: string) => Array.from({ length: connections }, () => event);
    expect(told).toEqual([
      'node.up',
      ...inOrder('connection.opened'),
      ...inOrder('connection.closed'),
      'node.down',
    ]);
  }
  const closed = backend.events.filter(({ event }) => event === 'connection.closed');
  expect(closed.map(({ reason }) => reason)).toEqual(devices.map(() => 'shutdown'));
  expectWellFormed(backend);
});

/** All events so far are as the contract says, and came as it says. */
function expectWellFormed(backend: Backend): void {
  expect(backend.events.flatMap(problemsOf)).toEqual([]);
  for (const [index, { fields, properties }] of backend.eventMessages.entries()) {
    expect(fields.routingKey).toBe(backend.events[index]!.event);
    expect(properties).toMatchObject({ contentType: 'application/json', deliveryMode: 2 });
  }
}
