import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { openSockets } from '../helpers/open-descriptors.ts';
import { clientHello, RawClient } from '../helpers/raw-client.ts';

const MAX_FRAME = 1_000;
const HANDSHAKE_TIMEOUT = 1_200;
const FIRST_FRAME_TIMEOUT = 1_500;
const IDLE_TIMEOUT = 2_500;

describe('a hostile or broken device', () => {
  let gateway: GatewayProcess;
  let backend: Backend;
  let worker: number;
  let socketsAtRest: number;
  let endedBefore: number;

  beforeAll(async () => {
    gateway = await GatewayProcess.start({
      env: {
        OWSLA_LISTEN_MAX_FRAME_BYTES: String(MAX_FRAME),
        OWSLA_TLS_HANDSHAKE_TIMEOUT_MS: String(HANDSHAKE_TIMEOUT),
        OWSLA_ENDPOINT_FIRST_FRAME_TIMEOUT_MS: String(FIRST_FRAME_TIMEOUT),
        OWSLA_ENDPOINT_IDLE_TIMEOUT_MS: String(IDLE_TIMEOUT),
      },
    });
    backend = await Backend.connect(gateway.names);
    await backend.collect();
    worker = (await gateway.readiness()).workers[0]!.pid;
    socketsAtRest = openSockets(worker);
  });

  afterAll(async () => {
    await backend?.[Symbol.asyncDispose]();
    await gateway?.[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    backend.events.splice(0); // A port may have been another client's before.
    endedBefore = await gateway.metric('owsla_connections_closed_total');
  });

  afterEach(async () => {
    await eventually('no descriptor is left', () => openSockets(worker) === socketsAtRest);
    await eventually(
      'no connection is counted',
      async () => (await gateway.metric('owsla_connections')) === 0,
    );
    await eventually(
      'no handshake is counted',
      async () => (await gateway.metric('owsla_handshakes_in_progress')) === 0,
    );
    expect(gateway.stderr).toBe('');
    expect((await gateway.readiness()).workers[0]!.pid).toBe(worker);
  });

  /** The event of the end of one connection; it has to be counted under its reason, once. */
  async function endOf(
    localPort: number,
    reason: string,
    countBefore: number,
  ): Promise<Record<string, unknown>> {
    const event = await backend.event('connection.closed', (e) => e.remote_port === localPort);
    expect(event.reason).toBe(reason);
    expect(await gateway.metric('owsla_connections_closed_total', { reason })).toBe(countBefore + 1);
    expect(await gateway.metric('owsla_connections_closed_total')).toBe(endedBefore + 1);
    return event;
  }

  const closedFor = (reason: string) => gateway.metric('owsla_connections_closed_total', { reason });

  describe('within TLS', () => {
    test('sends a frame of the largest size, then one over it: closed as frame_too_large', async () => {
      const before = await closedFor('frame_too_large');
      using device = await Device.connect(gateway.port);
      const largest = `largest ${'x'.repeat(MAX_FRAME)}`.slice(0, MAX_FRAME);
      await device.send(`${largest}\r`); // A carriage return is no part of the frame.
      await backend.connectionOf(largest);
      expect(openSockets(worker)).toBe(socketsAtRest + 1);
      const port = device.socket.localPort!;
      await device.send('x'.repeat(MAX_FRAME + 1));
      await within('close', device.closed);
      const event = await endOf(port, 'frame_too_large', before);
      expect(event).toMatchObject({ established: true, limit: MAX_FRAME, value: MAX_FRAME + 1 });
      expect(event).toMatchObject({ frames_received: 1, last_from_device_seq: 0 });
      expect(event.detail).toContain('listen.maxFrameBytes');
    });

    test('sends a frame without an end: closed long before it could fill the memory', async () => {
      const before = await closedFor('frame_too_large');
      using device = await Device.connect(gateway.port);
      const port = device.socket.localPort!;
      let ended = false;
      void device.closed.then(() => {
        ended = true;
      });
      const block = Buffer.alloc(65_536, 'x');
      while (!ended) await device.write(block);
      const event = await endOf(port, 'frame_too_large', before);
      const nothing = { frames_received: 0, bytes_received: 0 };
      expect(event).toMatchObject({ established: true, limit: MAX_FRAME, ...nothing });
      expect(event.value).toBeGreaterThan(MAX_FRAME);
      // One read of the socket holds no more.
      expect(event.value).toBeLessThanOrEqual(MAX_FRAME + 65_536);
    });

    test('closes in the middle of a line: incomplete_frame, and the lines before it are handed on', async () => {
      const before = await closedFor('incomplete_frame');
      using device = await Device.connect(gateway.port);
      const port = device.socket.localPort!;
      await device.write('a whole line\nhalf a li');
      await device.close();
      const event = await endOf(port, 'incomplete_frame', before);
      expect(event).toMatchObject({ established: true, value: 9, frames_received: 1 });
      expect(event.detail).toContain('9 bytes into a frame');
      expect(await backend.connectionOf('a whole line')).toBe(event.connection_id);
    });

    test('sends binary noise: every byte of it is handed on as it is', async () => {
      const before = await closedFor('peer_closed');
      using device = await Device.connect(gateway.port);
      const port = device.socket.localPort!;
      const lines = Array.from({ length: 50 }, (_, n) => noiseLine(n * 20));
      await device.write(Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')])));
      const opened = await backend.event('connection.opened', (e) => e.remote_port === port);
      const received = () =>
        backend.lines.filter((m) => m.properties.headers?.connection_id === opened.connection_id);
      await eventually('all lines', () => received().length === lines.length);
      expect(received().map((m) => m.content.toString('hex'))).toEqual(lines.map((l) => l.toString('hex')));
      await device.close();
      const event = await endOf(port, 'peer_closed', before);
      expect(event).toMatchObject({ established: true, frames_received: lines.length });
    });

    test('never sends a frame: closed as first_frame_timeout, half a frame or none', async () => {
      const before = await closedFor('first_frame_timeout');
      using device = await Device.connect(gateway.port);
      const port = device.socket.localPort!;
      await device.write('half a fra');
      await within('close', device.closed);
      const event = await endOf(port, 'first_frame_timeout', before);
      expect(event).toMatchObject({ established: true, limit: FIRST_FRAME_TIMEOUT, frames_received: 0 });
      expect(event.value).toBeGreaterThanOrEqual(FIRST_FRAME_TIMEOUT);
    });

    test('goes silent: closed as idle_timeout', async () => {
      const before = await closedFor('idle_timeout');
      using device = await Device.connect(gateway.port);
      const port = device.socket.localPort!;
      await device.send('the last word');
      await within('close', device.closed);
      const event = await endOf(port, 'idle_timeout', before);
      expect(event).toMatchObject({ established: true, limit: IDLE_TIMEOUT, frames_received: 1 });
      expect(event.value).toBeGreaterThanOrEqual(IDLE_TIMEOUT);
    });

    test('goes silent and does not close its side either: gone all the same', async () => {
      const before = await closedFor('idle_timeout');
      const halfOpen = { allowHalfOpen: true };
      const socket = connect({ host: '127.0.0.1', port: gateway.port, ...halfOpen });
      using device = await Device.connect(gateway.port, { socket, ...halfOpen });
      const port = socket.localPort!;
      await device.send('the very last word');
      await endOf(port, 'idle_timeout', before);
    });

    test('resets: peer_reset, and what it had sent is handed on', async () => {
      const before = await closedFor('peer_reset');
      const socket = connect(gateway.port, '127.0.0.1');
      using device = await Device.connect(gateway.port, { socket });
      const port = socket.localPort!;
      await device.send('sent before the reset');
      const connectionId = await backend.connectionOf('sent before the reset');
      socket.resetAndDestroy();
      const event = await endOf(port, 'peer_reset', before);
      expect(event).toMatchObject({ established: true, frames_received: 1, connection_id: connectionId });
    });
  });

  describe('before TLS', () => {
    const failed = { established: false, frames_received: 0, bytes_received: 0, last_from_device_seq: null };

    test.each([
      ['a line of plain text', 'hello, is anybody there?\n', 'ERR_SSL_'],
      ['an HTTP request', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'ERR_SSL_HTTP_REQUEST'],
    ])('speaks %s to the TLS port: tls_error', async (_, text, detail) => {
      const before = await closedFor('tls_error');
      using client = await RawClient.connect(gateway.port);
      client.socket.write(text);
      await within('close', client.closed);
      const event = await endOf(client.localPort, 'tls_error', before);
      expect(event).toMatchObject(failed);
      expect(event.detail).toContain(detail);
    });

    test('sends random bytes to the TLS port: refused, each of many', async () => {
      const clients = await Promise.all(Array.from({ length: 40 }, () => RawClient.connect(gateway.port)));
      for (const [n, client] of clients.entries()) client.socket.write(randomBytes(1 + n * 50));
      await within('close of all', Promise.all(clients.map((client) => client.closed)));
      for (const { localPort } of clients) {
        const event = await backend.event('connection.closed', (e) => e.remote_port === localPort);
        // Some noise is the beginning of something that never comes.
        expect(['tls_error', 'handshake_timeout']).toContain(event.reason);
        expect(event).toMatchObject(failed);
      }
      expect(await gateway.metric('owsla_connections_closed_total')).toBe(endedBefore + clients.length);
    });

    test('breaks off its ClientHello with noise: tls_error', async () => {
      const before = await closedFor('tls_error');
      const hello = await clientHello();
      hello.fill(0xff, 5); // The record's header stays: its type, version and length are right.
      using client = await RawClient.connect(gateway.port);
      client.socket.write(hello);
      await within('close', client.closed);
      expect(await endOf(client.localPort, 'tls_error', before)).toMatchObject(failed);
    });

    test('says nothing: handshake_timeout', async () => {
      const before = await closedFor('handshake_timeout');
      using client = await RawClient.connect(gateway.port);
      await within('close', client.closed);
      const event = await endOf(client.localPort, 'handshake_timeout', before);
      expect(event).toMatchObject({ ...failed, limit: HANDSHAKE_TIMEOUT });
      expect(event.value).toBeGreaterThanOrEqual(HANDSHAKE_TIMEOUT);
    });

    test('sends its handshake byte by byte: handshake_timeout, for the deadline is absolute', async () => {
      const before = await closedFor('handshake_timeout');
      const hello = await clientHello();
      using client = await RawClient.connect(gateway.port);
      let ended = false;
      void client.closed.then(() => {
        ended = true;
      });
      for (let at = 0; at < hello.length && !ended; at++) {
        client.socket.write(hello.subarray(at, at + 1));
        await delay(20);
      }
      const event = await endOf(client.localPort, 'handshake_timeout', before);
      expect(event).toMatchObject({ ...failed, limit: HANDSHAKE_TIMEOUT });
    });

    test('stops after its ClientHello: handshake_timeout', async () => {
      const before = await closedFor('handshake_timeout');
      using client = await RawClient.connect(gateway.port);
      client.socket.write(await clientHello());
      await within('close', client.closed);
      const event = await endOf(client.localPort, 'handshake_timeout', before);
      expect(event).toMatchObject({ ...failed, limit: HANDSHAKE_TIMEOUT });
    });

    test('connects and closes at once: tls_error', async () => {
      const before = await closedFor('tls_error');
      using client = await RawClient.connect(gateway.port);
      client.socket.end();
      const event = await endOf(client.localPort, 'tls_error', before);
      expect(event).toMatchObject(failed);
      expect(event.detail).toEqual(expect.any(String));
    });

    test('closes in the middle of its handshake: tls_error', async () => {
      const before = await closedFor('tls_error');
      const hello = await clientHello();
      using client = await RawClient.connect(gateway.port);
      client.socket.end(hello.subarray(0, 100));
      const event = await endOf(client.localPort, 'tls_error', before);
      expect(event).toMatchObject(failed);
      expect(event.detail).toEqual(expect.any(String));
    });

    test('connects and resets at once, a hundred times over: nothing stays', async () => {
      for (let n = 0; n < 100; n++) {
        using client = await RawClient.connect(gateway.port);
        client.socket.resetAndDestroy();
        await client.closed;
      }
      // Accepts come in order: once this one is in, so were the others.
      using device = await Device.connect(gateway.port);
      await device.close();
    });
  });
});

/** Any bytes but the line feed that would end the line, and the carriage return that would be dropped before it. */
function noiseLine(length: number): Buffer {
  const noise = randomBytes(length);
  for (const [at, byte] of noise.entries()) if (byte === 0x0a || byte === 0x0d) noise[at] = 0;
  return noise;
}
