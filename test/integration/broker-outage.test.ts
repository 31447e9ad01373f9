import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ChannelModel } from 'amqplib';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { BrokerLink } from '../../src/broker/broker-link.ts';
import { freePort } from '../../src/dev/free-port.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { Backoff } from '../../src/util/backoff.ts';
import { collectGarbage } from '../../src/util/collect-garbage.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { Backend } from '../helpers/backend.ts';
import { clientCertificate } from '../helpers/client-certificates.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { metadataWritten } from '../helpers/queues.ts';
import { RawClient } from '../helpers/raw-client.ts';

const USER = 'gateway-user';
/** With characters that a URL has to escape. */
const PASSWORD = 'pa55/w0rd@hare';
const SECRETS = [PASSWORD, encodeURIComponent(PASSWORD)];
const MAX_MESSAGE_BYTES = 100_000;
const FAST_RETRY = { OWSLA_AMQP_RECONNECT_MIN_MS: '50ms', OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' };

let broker: PrivateBroker;
let tlsPort: number;

beforeAll(async () => {
  tlsPort = await freePort();
  const certificates = inject('certificatesDir');
  broker = await PrivateBroker.start({
    conf: {
      max_message_size: String(MAX_MESSAGE_BYTES),
      'listeners.ssl.1': `127.0.0.1:${tlsPort}`,
      'ssl_options.cacertfile': join(certificates, 'ca.pem'),
      'ssl_options.certfile': join(certificates, 'server.pem'),
      'ssl_options.keyfile': join(certificates, 'server-key.pem'),
      'ssl_options.verify': 'verify_peer',
      'ssl_options.fail_if_no_peer_cert': 'true',
    },
  });
  await broker.ctl('add_user', USER, PASSWORD);
  await broker.ctl('set_permissions', USER, '.*', '.*', '.*');
});

afterAll(async () => {
  await broker?.[Symbol.asyncDispose]();
});

async function kill(): Promise<void> {
  await metadataWritten();
  await broker.kill();
}

const url = (password = PASSWORD, port = broker.amqpPort) =>
  `amqp://${USER}:${encodeURIComponent(password)}@127.0.0.1:${port}`;

function expectNoSecret(gateway: GatewayProcess): void {
  const said = gateway.log.map((line) => JSON.stringify(line)).join('\n') + gateway.stderr;
  for (const secret of SECRETS) expect(said).not.toContain(secret);
}

describe('a broker that is not there', () => {
  test('at the start: the gateway does not listen, says why, and is ready once the broker comes', async () => {
    await kill();
    await using gateway = await GatewayProcess.spawn({ amqpUrl: url(), env: FAST_RETRY });
    const failed = await gateway.logged('broker connection failed, trying again');
    expect(failed).toMatchObject({ attempt: 1, reason: expect.stringContaining('ECONNREFUSED') });
    expect(failed.broker).toContain(`127.0.0.1:${broker.amqpPort}`);
    // It goes on trying, and says so ever more rarely.
    await gateway.logged((line) => line.attempt === 4);
    expect(await gateway.readiness()).toMatchObject({
      ready: false,
      workers: [{ ready: false, reason: 'connecting to the broker' }],
    });
    await expect(RawClient.connect(gateway.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });

    await broker.start();
    await gateway.ready();
    expect((await gateway.readiness()).ready).toBe(true);
    await expectRoundTrip(gateway);
    expect(gateway.log.map((line) => line.attempt)).not.toContain(3);
    expectNoSecret(gateway);
  });

  test('is passed over for the next address', async () => {
    const dead = await freePort();
    await using gateway = await GatewayProcess.start({
      amqpUrl: `${url(PASSWORD, dead)},${url()}`,
      env: FAST_RETRY,
    });
    const failed = await gateway.logged('broker connection failed, trying again');
    expect(failed.broker).toContain(String(dead));
    const connected = gateway.log.filter((line) => line.msg === 'broker connected');
    expect(connected.map((line) => line.link).sort()).toEqual(['consume', 'forward', 'publish']);
    for (const line of connected) expect(line.broker).toContain(String(broker.amqpPort));
    await expectRoundTrip(gateway);
    expectNoSecret(gateway);
  });
});

test('a password that the broker refuses is a clear line, tried again until it is accepted', async () => {
  const wrong = 'not-the-passw0rd';
  await using gateway = await GatewayProcess.spawn({ amqpUrl: url(wrong), env: FAST_RETRY });
  const refused = await gateway.logged('broker connection failed, trying again');
  expect(refused.reason).toContain('ACCESS_REFUSED');
  await gateway.logged((line) => line.attempt === 2);
  expect((await gateway.readiness()).ready).toBe(false);
  await broker.ctl('change_password', USER, wrong);
  try {
    await gateway.ready();
  } finally {
    await broker.ctl('change_password', USER, PASSWORD);
  }
  const said = gateway.log.map((line) => JSON.stringify(line)).join('\n') + gateway.stderr;
  expect(said).not.toContain(wrong);
});

describe('a connection attempt', () => {
  test('that is given up and succeeds late leaves nothing behind', async () => {
    await using tap = await AmqpTap.start(url());
    // Three answers until a connection is open: each in time, all of them not.
    tap.opening = { answersLateMs: 400 };
    const heartbeatSeconds = 1;
    await using gateway = await GatewayProcess.spawn({
      amqpUrl: tap.url,
      env: {
        ...FAST_RETRY,
        OWSLA_AMQP_CONNECT_TIMEOUT_MS: '1s',
        OWSLA_AMQP_HEARTBEAT_SECONDS: String(heartbeatSeconds),
      },
    });
    const failed = await gateway.logged('broker connection failed, trying again');
    expect(failed.reason).toBe('no AMQP handshake within 1000 ms');
    const pids = [...(await gateway.workers()).values()];
    expect(pids).toHaveLength(1);
    tap.opening = {};
    await gateway.ready();
    // Whoever still waited for a heartbeat of the abandoned ones would miss it by now.
    await delay(heartbeatSeconds * 5_000);
    expect([...(await gateway.workers()).values()]).toEqual(pids);
    expect(gateway.stderr).toBe('');
    await eventually('no other connection than the three', () => tap.connections === 3);
    await expectRoundTrip(gateway);
  });

  test('that succeeds and is closed in the same breath is made again', async () => {
    await using tap = await AmqpTap.start(url());
    tap.opening = { closedBehindOpenOk: true };
    await using gateway = await GatewayProcess.spawn({ amqpUrl: tap.url, env: FAST_RETRY });
    const failed = await gateway.logged('broker connection failed, trying again');
    expect(failed.reason).toContain('CONNECTION-FORCED');
    tap.opening = {};
    await gateway.ready();
    await expectRoundTrip(gateway);
  });

  test('leaves no memory behind once its connection is lost', async () => {
    const models: WeakRef<ChannelModel>[] = [];
    const link = new BrokerLink(
      'publish',
      { urls: [url()], tls: {}, heartbeatSeconds: 10, connectTimeoutMs: 10_000 },
      new Backoff(1, 1),
      { linkConnected: () => {}, linkLost: () => {}, linkBlocked: () => {} },
      pino({ level: 'silent' }),
    );
    link.listen({ connected: (model) => void models.push(new WeakRef(model)) });
    link.start();
    for (let lost = 0; lost < 10; lost++) {
      await eventually('connected', () => link.model !== null && models.length === lost + 1);
      link.giveUp(link.model!, 'for a test');
    }
    await eventually('all but the last are forgotten', () => {
      collectGarbage();
      return models.filter((model) => model.deref() !== undefined).length <= 1;
    });
    await link.stop();
  });
});

describe('an amqps broker', () => {
  const amqps = () => `amqps://guest:guest@localhost:${tlsPort}`;

  const ca = () => join(inject('certificatesDir'), 'ca.pem');

  test('is verified against the configured authority, and shown the client certificate it demands', async () => {
    const dir = inject('certificatesDir');
    const client = await clientCertificate({ commonName: 'gateway' });
    const [cert, key] = [join(dir, 'amqp-client.pem'), join(dir, 'amqp-client-key.pem')];
    writeFileSync(cert, client.cert);
    writeFileSync(key, client.key);
    await using gateway = await GatewayProcess.start({
      amqpUrl: amqps(),
      env: {
        OWSLA_AMQP_CA: ca(),
        OWSLA_AMQP_CERT: cert,
        OWSLA_AMQP_KEY: key,
        OWSLA_AMQP_HEARTBEAT_SECONDS: '1',
      },
    });
    await expectRoundTrip(gateway);
    // A link that carries nothing else is kept by its heartbeats.
    await delay(5_000);
    expect(gateway.log.filter((line) => line.msg === 'broker connection lost')).toEqual([]);
  });

  test('that demands a client certificate refuses a gateway without one, with a clear line', async () => {
    await using gateway = await GatewayProcess.spawn({ amqpUrl: amqps(), env: { OWSLA_AMQP_CA: ca() } });
    const refused = await gateway.logged('broker connection failed, trying again');
    expect(refused.reason).toMatch(/certificate|handshake|alert/i);
    expect((await gateway.readiness()).ready).toBe(false);
  });

  test('that nobody vouches for is refused, with a clear line', async () => {
    await using gateway = await GatewayProcess.spawn({ amqpUrl: amqps() });
    const refused = await gateway.logged('broker connection failed, trying again');
    expect(refused.reason).toMatch(/certificate/);
    expect((await gateway.readiness()).ready).toBe(false);
  });
});

describe('a broker that goes away while devices send', () => {
  const DEVICES = 20;

  const start = () => broker.start();
  const signal = (name: NodeJS.Signals) => async () => void process.kill(broker.pid, name);

  test.each([
    ['is stopped and started', 'quorum', () => broker.stop(), start],
    ['is killed and started', 'classic', kill, start],
    ['is frozen and thawed', 'classic', signal('SIGSTOP'), signal('SIGCONT')],
  ])(
    'and %s: devices stay, and no line is lost or out of order (%s queues)',
    async (_, queueType, goAway, comeBack) => {
      await using gateway = await GatewayProcess.start({
        amqpUrl: url(),
        env: { ...FAST_RETRY, OWSLA_AMQP_QUEUE_TYPE: queueType, OWSLA_AMQP_HEARTBEAT_SECONDS: '1' },
      });
      using fleet = await Fleet.connect(gateway.port, DEVICES);
      const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 10 }));
      await eventually(
        'lines flow',
        async () => (await gateway.metric('owsla_frames_received_total')) > 1_000,
      );
      // Each connection has a heartbeat of its own, and this is the one that has something to lose.
      const lost = gateway.nextLogged(
        (line) => line.msg === 'broker connection lost' && line.link === 'publish',
      );
      const notReady = gateway.nextLogged((line) => line.msg === 'not ready');
      await goAway();
      try {
        await Promise.all([lost, notReady]);
        expect(await gateway.metric('owsla_connections')).toBe(DEVICES);
        const sentBefore = streams.map((stream) => stream.sent);
        await eventually('devices can go on for a while', () =>
          streams.every((stream, n) => stream.sent > sentBefore[n]! + 10),
        );
      } finally {
        await comeBack();
      }
      await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
      await Promise.all(streams.map((stream) => stream.stop()));
      expect(fleet.devices.map((device) => device.socket.destroyed)).toEqual(Array(DEVICES).fill(false));

      await using backend = await Backend.connect(gateway.names, broker.url);
      const audit = new LineAudit();
      await backend.consume((message) => audit.add(message));
      await fleet.close();
      for (const stream of streams) {
        const end = await backend.event('connection.closed', (e) => e.remote_port === stream.port);
        expect(end).toMatchObject({ reason: 'peer_closed', frames_received: stream.sent });
        const lines = audit.lines(end.connection_id as string);
        await eventually(`all of ${stream.line(0)}`, () => lines.length === stream.sent);
        // What is wrong, rather than where.
        expect(audit.violations).toEqual([]);
        expect(lines.findIndex((line, n) => line !== stream.line(n))).toBe(-1);
      }
      expect(audit.violations).toEqual([]);
      expect(await gateway.metric('owsla_frames_republished_total')).toBeGreaterThanOrEqual(audit.copies);
      expect(await gateway.metric('owsla_broker_reconnects_total', { link: 'publish' })).toBe(1);
      expectNoSecret(gateway);
    },
  );

  test.each([
    ['all of it is in the window', 100],
    ['most of it waits for room in the window', 2],
  ])('for longer than a shutdown waits: what is unconfirmed is counted, where %s', async (_, window) => {
    const LINES = 7;
    const env = {
      ...FAST_RETRY,
      OWSLA_SHUTDOWN_TIMEOUT_MS: '1500ms',
      OWSLA_AMQP_WINDOW_MESSAGES: String(window),
    };
    await using gateway = await GatewayProcess.start({ amqpUrl: url(), env });
    using device = await Device.connect(gateway.port);
    await signal('SIGSTOP')();
    try {
      // One record, so that the gateway has read all of it when it has read the first line.
      await device.write('too late\n'.repeat(LINES));
      await eventually(
        'lines are read',
        async () => (await gateway.metric('owsla_unconfirmed_frames')) === Math.min(LINES, window),
      );
      expect(await gateway.stop()).toBe(1);
      expect(gateway.log.find((line) => line.unconfirmedFrames === LINES)).toBeDefined();
      expect(gateway.log.map((line) => line.msg)).not.toContain('stopped');
    } finally {
      await signal('SIGCONT')();
    }
  });
});

test('a line that is larger than the broker takes costs its device the connection, and nobody else a line', async () => {
  await using gateway = await GatewayProcess.start({
    amqpUrl: url(),
    env: { ...FAST_RETRY, OWSLA_LISTEN_MAX_FRAME_BYTES: '128KiB' },
  });
  await using backend = await Backend.connect(gateway.names, broker.url);
  const audit = new LineAudit();
  await backend.consume((message) => audit.add(message));
  using fleet = await Fleet.connect(gateway.port, 20);
  const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 2 }));
  await eventually('lines flow', () => audit.total > 1_000);
  for (let times = 1; times <= 2; times++) {
    using large = await Device.connect(gateway.port);
    const port = large.socket.localPort;
    await large.send('x'.repeat(MAX_MESSAGE_BYTES));
    await large.send('y'.repeat(MAX_MESSAGE_BYTES + 1));
    const end = await backend.event('connection.closed', (e) => e.remote_port === port);
    expect(end).toMatchObject({
      reason: 'frame_too_large',
      limit: MAX_MESSAGE_BYTES,
      value: MAX_MESSAGE_BYTES + 1,
    });
    await large.closed;
    const lines = audit.lines(end.connection_id as string);
    await eventually('the one that is not', () => lines.length === 1);
  }
  expect(await gateway.metric('owsla_frames_refused_total')).toBe(2);
  // The second was known to be too large.
  expect(await gateway.metric('owsla_broker_reconnects_total')).toBe(0);
  expect(gateway.log.filter((line) => line.msg === 'broker channel lost')).toHaveLength(1);
  expect(gateway.log.filter(({ level }) => level >= 50)).toMatchObject([{ maxBytes: MAX_MESSAGE_BYTES }]);
  await Promise.all(streams.map((stream) => stream.stop()));
  const sent = streams.reduce((sum, stream) => sum + stream.sent, 0);
  await eventually('all other lines', () => audit.total === sent + 2);
  expect(audit.violations).toEqual([]);
  expect(fleet.devices.map((device) => device.socket.destroyed)).toEqual(Array(20).fill(false));
});

/** A line to the backend and back. */
async function expectRoundTrip(gateway: GatewayProcess): Promise<void> {
  await using backend = await Backend.connect(gateway.names, broker.url);
  await backend.echo();
  using device = await Device.connect(gateway.port);
  await device.send('there and back');
  expect(await within('the reply', device.received(1))).toEqual(['there and back']);
}
