import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { ForeignProgram } from '../helpers/foreign-program.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { openSockets } from '../helpers/open-descriptors.ts';
import { clientHello, RawClient } from '../helpers/raw-client.ts';

const HEADER_TIMEOUT = 600;
const refusedFor = (gateway: GatewayProcess, reason: string) =>
  gateway.metric('owsla_connections_refused_total', { reason });

describe('behind a load balancer', () => {
  let gateway: GatewayProcess;
  let backend: Backend;

  beforeAll(async () => {
    gateway = await GatewayProcess.start({
      env: {
        OWSLA_PROXY_TRUSTED: '127.0.0.0/8',
        OWSLA_PROXY_HEADER_TIMEOUT_MS: String(HEADER_TIMEOUT),
        OWSLA_ENDPOINT_PAUSED_PEER_CHECK_MS: '100',
      },
    });
    backend = await Backend.connect(gateway.names);
    await backend.collect();
  });

  afterAll(async () => {
    await backend?.[Symbol.asyncDispose]();
    await gateway?.[Symbol.asyncDispose]();
  });

  /** Every device here has another address. */
  const eventsOfTheBalancer = () =>
    backend.events.filter(({ remote_address }) => remote_address === '127.0.0.1');

  afterEach(async () => {
    await eventually('none is open', async () => (await gateway.metric('owsla_connections')) === 0);
    expect(gateway.stderr).toBe('');
  });

  describe.each(['send-proxy', 'send-proxy-v2'])('HAProxy with %s', (option) => {
    let haproxy: Haproxy;
    beforeAll(async () => {
      haproxy = await Haproxy.start(gateway.port, `${option} check inter 50ms check-send-proxy`);
    });
    afterAll(() => haproxy?.stop());

    test('passes devices on: events name their own address, and health checks make no noise', async () => {
      await eventually('the gateway passes its check', () => haproxy.findsItsServerWell());

      using device = await Device.connect(haproxy.port, { localAddress: '127.0.0.77' } as ConnectionOptions);
      await device.send(`hello by ${option}`);
      const address = { remote_address: '127.0.0.77', remote_port: device.socket.localPort };
      const id = await backend.connectionOf(`hello by ${option}`);
      backend.reply(id, 'and back');
      expect(await device.received(1)).toEqual(['and back']);
      const opened = await backend.event('connection.opened', (event) => event.connection_id === id);
      expect(opened).toMatchObject(address);
      await device.close();
      const closed = await backend.event('connection.closed', (event) => event.connection_id === id);
      expect(closed).toMatchObject({ ...address, reason: 'peer_closed' });
      // Nothing of the checks, which have gone on meanwhile.
      expect(eventsOfTheBalancer()).toEqual([]);
    });
  });

  describe('a header', () => {
    test('may come with the ClientHello in one segment, and every byte of both alone', async () => {
      const bytes = Buffer.concat([Buffer.from('PROXY UNKNOWN\r\n'), await clientHello()]);
      for (const pieces of [[bytes], [...bytes].map((byte) => Buffer.from([byte]))]) {
        using client = await RawClient.connect(gateway.port);
        const answered = new Promise<Buffer>((resolve) => client.socket.once('data', resolve));
        for (const piece of pieces) await written(client, piece);
        // A ServerHello.
        expect((await within('answer', answered))[0]).toBe(22);
      }
    });

    test('names the device, also in an address of IPv6', async () => {
      const { socket } = await RawClient.connect(gateway.port);
      socket.write('PROXY TCP6 2001:db8::9 2001:db8::1 4711 8883\r\n');
      const device = connect({ socket, servername: 'localhost', rejectUnauthorized: false });
      device.on('error', () => {});
      device.write('from afar\n');
      const id = await backend.connectionOf('from afar');
      const opened = await backend.event('connection.opened', (event) => event.connection_id === id);
      expect(opened).toMatchObject({ remote_address: '2001:db8::9', remote_port: 4711 });
      device.destroy();
    });

    test.each([
      ['that lies about its family', 'PROXY TCP4 2001:db8::1 ::1 1 1\r\n'],
      ['that is none', 'GET / HTTP/1.1\r\nHost: gateway\r\n\r\n'],
      ['without an end', `PROXY TCP4 ${'1'.repeat(200)}`],
      ['that TLS comes in place of', undefined],
    ])('%s: reset and counted, without an event', async (_, text) => {
      const before = await refusedFor(gateway, 'proxy_header');
      using client = await RawClient.connect(gateway.port);
      client.socket.write(text ?? (await clientHello()));
      expect(await within('close', client.closed)).toBe('ECONNRESET');
      expect(await refusedFor(gateway, 'proxy_header')).toBe(before + 1);
      expect(eventsOfTheBalancer()).toEqual([]);
    });

    test('that does not come, or not whole, is waited for until its deadline', async () => {
      const worker = (await gateway.readiness()).workers[0]!.pid;
      const atRest = openSockets(worker);
      const before = await refusedFor(gateway, 'proxy_timeout');
      using silent = await RawClient.connect(gateway.port);
      using slow = await RawClient.connect(gateway.port);
      slow.socket.write('PROXY TCP4 1.2.3.4 ');
      for (const client of [silent, slow]) expect(await within('close', client.closed)).toBe('ECONNRESET');
      expect(await refusedFor(gateway, 'proxy_timeout')).toBe(before + 2);
      await eventually('no descriptor is left', () => openSockets(worker) === atRest);
    });
  });
});

test('nobody but the trusted balancers gets in, whatever he claims', async () => {
  await using gateway = await GatewayProcess.start({
    env: { OWSLA_PROXY_TRUSTED: '192.0.2.0/24,127.0.0.9' },
  });
  const liar = RawClient.connect(gateway.port).then(
    (client) => client.closed,
    (error: NodeJS.ErrnoException) => error.code,
  );
  expect(await within('close', liar)).toBe('ECONNRESET');
  expect(await refusedFor(gateway, 'proxy_untrusted')).toBe(1);
  await gateway.logged(
    (line) => line.msg === 'new connections are refused' && line.reason === 'proxy_untrusted',
  );
});

test('a device that backpressure holds back is looked up by the address of the balancer, and not taken for gone', async () => {
  await using gateway = await GatewayProcess.start({
    env: {
      OWSLA_PROXY_TRUSTED: '127.0.0.1',
      OWSLA_ENDPOINT_PAUSED_PEER_CHECK_MS: '100',
      OWSLA_ENDPOINT_MAX_UNCONFIRMED_FRAMES: '1',
    },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  const relay = await RawClient.connect(gateway.port);
  relay.socket.write('PROXY TCP4 203.0.113.9 192.0.2.1 4711 8883\r\n');
  relay.socket.pause();
  const socket = connect({ socket: relay.socket, servername: 'localhost', rejectUnauthorized: false });
  socket.on('error', () => {});
  // Each frame pauses the reads until it is confirmed; looked up in between, the connection is found alive.
  for (let i = 0; i < 2_000; i++) socket.write(`line ${i}\n`);
  await eventually('all lines', () => backend.lines.length === 2_000);
  expect(backend.events.filter(({ event }) => event === 'connection.closed')).toEqual([]);
  socket.destroy();
});

async function written(client: RawClient, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) =>
    client.socket.write(bytes, (error) => (error ? reject(error) : resolve())),
  );
}

/** A real HAProxy in TCP mode in front of one port. */
class Haproxy {
  readonly port: number;
  readonly #statsUrl: string;
  readonly #folder: string;
  readonly #program: ForeignProgram;

  static async start(serverPort: number, options: string): Promise<Haproxy> {
    const haproxy = new Haproxy(await freePort(), await freePort(), serverPort, options);
    await eventually('HAProxy listens', () =>
      haproxy.findsItsServerWell().then(
        () => true,
        () => false,
      ),
    );
    return haproxy;
  }

  private constructor(port: number, statsPort: number, serverPort: number, options: string) {
    this.port = port;
    this.#statsUrl = `http://127.0.0.1:${statsPort}/;csv`;
    this.#folder = mkdtempSync(join(tmpdir(), 'owsla-haproxy-'));
    const file = join(this.#folder, 'haproxy.cfg');
    writeFileSync(
      file,
      `defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen devices
  bind 127.0.0.1:${port}
  server gateway 127.0.0.1:${serverPort} ${options}
frontend stats
  mode http
  bind 127.0.0.1:${statsPort}
  stats enable
  stats uri /
`,
    );
    this.#program = new ForeignProgram('haproxy', ['-db', '-f', file]);
  }

  /** By a check, not by its assumption at the start. @throws while HAProxy is not there */
  async findsItsServerWell(): Promise<boolean> {
    const [names, ...rows] = (await (await fetch(this.#statsUrl)).text()).split('\n');
    const row = rows.find((text) => text.startsWith('devices,gateway,'))!;
    return row.split(',')[names!.split(',').indexOf('check_status')] === 'L4OK';
  }

  async stop(): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
