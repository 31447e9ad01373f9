import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { openSockets } from '../helpers/open-descriptors.ts';
import { residentBytes } from '../helpers/processes.ts';

/** Something that keeps a broker from confirming. */
interface Disturbance {
  begin(): Promise<unknown>;
  end(): Promise<unknown>;
  notReadyBecause: string;
  /** Of the one worker's publish connection. */
  blockedLinks: number;
}

describe('a device that floods', () => {
  test.each([
    ['frames', { OWSLA_ENDPOINT_MAX_UNCONFIRMED_FRAMES: '8' }, 20, 0],
    ['bytes', { OWSLA_ENDPOINT_MAX_UNCONFIRMED_BYTES: '8000' }, 0, 20_000],
  ])('is paused by its own bound of %s, while others get through', async (_, env, mostFrames, mostBytes) => {
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    const audit = new LineAudit();
    await backend.consume((message) => {
      audit.add(message);
      const line = String(message.content);
      if (line.startsWith('quiet')) backend.reply(message.properties.headers?.connection_id, line);
    });
    using flooding = await Device.connect(gateway.port);
    using quiet = await Device.connect(gateway.port);
    const flood = new LineStream(flooding, 'flood', { lineBytes: 1_000 });
    await eventually('its reads pause', async () => (await gateway.metric('owsla_connections_paused')) === 1);

    for (let n = 0; n < 100; n++) {
      await quiet.send(`quiet ${n}`);
      await quiet.received(n + 1);
      if (n % 10 !== 0) continue;
      // Far from the window of the node, which stays open for everybody else.
      if (mostFrames > 0) {
        expect(await gateway.metric('owsla_unconfirmed_frames')).toBeLessThanOrEqual(mostFrames);
      }
      if (mostBytes > 0) {
        expect(await gateway.metric('owsla_unconfirmed_bytes')).toBeLessThanOrEqual(mostBytes);
      }
    }
    expect(quiet.text).toEqual(Array.from({ length: 100 }, (_, n) => `quiet ${n}`));

    await flood.stop();
    await flooding.close();
    await expectAllOf(flood, backend, audit);
    expect(audit.violations).toEqual([]);
  });
});

describe('a broker', () => {
  const DEVICES = 4;
  const WINDOW = 100;
  let broker: PrivateBroker;

  beforeAll(async () => {
    broker = await PrivateBroker.start();
  });
  afterAll(async () => {
    await broker?.[Symbol.asyncDispose]();
  });

  const memoryAlarm: Disturbance = {
    begin: () => broker.ctl('set_vm_memory_high_watermark', 'absolute', '1MB'),
    end: () => broker.ctl('set_vm_memory_high_watermark', '0.4'),
    notReadyBecause: 'the broker blocks publishing',
    blockedLinks: 1,
  };
  const silence: Disturbance = {
    begin: async () => process.kill(broker.pid, 'SIGSTOP'),
    end: async () => process.kill(broker.pid, 'SIGCONT'),
    notReadyBecause: 'no broker round trip',
    blockedLinks: 0,
  };

  test.each([
    ['is in a memory alarm', memoryAlarm],
    ['stops answering', silence],
  ])(
    'that %s holds the devices back: the memory is bounded, and nothing is lost',
    async (_, { begin, end, notReadyBecause, blockedLinks }) => {
      await using gateway = await GatewayProcess.start({
        amqpUrl: broker.url,
        env: {
          OWSLA_AMQP_WINDOW_MESSAGES: String(WINDOW),
          // It is to be waited for, not given up.
          OWSLA_AMQP_HEARTBEAT_SECONDS: '60',
        },
      });
      await using backend = await Backend.connect(gateway.names, broker.url);
      const audit = new LineAudit();
      await backend.consume((message) => audit.add(message));
      const worker = (await gateway.readiness()).workers[0]!.pid;
      using fleet = await Fleet.connect(gateway.port, DEVICES);
      using quiet = await Device.connect(gateway.port);
      const socket = connect(gateway.port, '127.0.0.1');
      using vanishing = await Device.connect(gateway.port, { socket });
      const atRest = openSockets(worker) - DEVICES - 2;
      const lastWords = new LineStream(vanishing, 'vanishing', { lineBytes: 4_000 });
      const floods = fleet.devices.map(
        (device, n) => new LineStream(device, `flood ${n}`, { lineBytes: 4_000 }),
      );
      const sent = () => floods.map((flood) => flood.sent);
      try {
        await eventually('lines flow', () => audit.total > 1_000);
        const memoryBefore = residentBytes(worker);

        await begin();
        const paused = (count: number) => async () =>
          (await gateway.metric('owsla_connections_paused')) === count;
        await eventually('the reads of all devices pause', paused(DEVICES + 1));
        // The kernels have taken what they can; now the devices themselves have to wait.
        await unchanged('lines that devices could send', () => String(sent()));
        // A little room may be left, by the last confirms; those in line come first.
        const words = new LineStream(quiet, 'quiet', { paceMs: 10 });
        await eventually('the quiet device is paused too', paused(DEVICES + 2));
        await words.stop();
        socket.resetAndDestroy();
        const unconfirmed = await gateway.metric('owsla_unconfirmed_frames');
        expect(unconfirmed).toBeGreaterThan(WINDOW / 2);
        expect(unconfirmed).toBeLessThanOrEqual(WINDOW);
        expect(await gateway.metric('owsla_broker_blocked', { link: 'publish' })).toBe(blockedLinks);
        expect(residentBytes(worker) - memoryBefore).toBeLessThan(64 * 1_024 * 1_024);
        const notReady = await eventually('not ready', async () => {
          const { ready, workers } = await gateway.readiness();
          return !ready && workers[0];
        });
        expect(notReady.reason).toContain(notReadyBecause);

        const stalledAt = sent();
        await end();
        await eventually('the devices can send again', () =>
          sent().every((count, n) => count > stalledAt[n]! + WINDOW),
        );
        await eventually('ready', async () => (await gateway.readiness()).ready);
        await Promise.all(floods.map((flood) => flood.stop()));
        await fleet.close();
        await quiet.close();
        for (const stream of [...floods, words]) await expectAllOf(stream, backend, audit);
        // Of the one that vanished, what was read before it was noticed.
        const reset = await backend.event('connection.closed', (e) => e.remote_port === lastWords.port);
        // A reset behind unread bytes looks like an end to Node.
        expect(['peer_reset', 'peer_closed']).toContain(reset.reason);
        const read = audit.lines(reset.connection_id as string);
        await eventually('its last words', () => read.length === reset.frames_received);
        expect(audit.violations).toEqual([]);
        expect(audit.copies).toBe(0);
        await eventually('no descriptor is left', () => openSockets(worker) === atRest);
      } finally {
        await end();
      }
    },
  );
  test('that stops answering loses no line of a device that closes meanwhile, nor keeps one that vanished', async () => {
    const LINES = 100;
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      env: {
        OWSLA_AMQP_WINDOW_MESSAGES: '10',
        OWSLA_AMQP_HEARTBEAT_SECONDS: '60',
        OWSLA_ENDPOINT_PAUSED_PEER_CHECK_MS: '100ms',
      },
    });
    await using backend = await Backend.connect(gateway.names, broker.url);
    const audit = new LineAudit();
    await backend.consume((message) => audit.add(message));
    const paused = (count: number) => async () =>
      (await gateway.metric('owsla_connections_paused')) === count;
    const connected = (count: number) => async () => (await gateway.metric('owsla_connections')) === count;
    using busy = await Device.connect(gateway.port);
    using closing = await Device.connect(gateway.port);
    await silence.begin();
    try {
      await busy.write('fills the window\n'.repeat(20));
      await eventually('the window is full', paused(1));
      const port = closing.socket.localPort;
      for (let n = 0; n < LINES; n++) await closing.send(`last words ${n}`);
      closing.socket.end();
      // Each of these is found after two looks at the kernel's table.
      for (let n = 0; n < 2; n++) {
        const socket = connect(gateway.port, '127.0.0.1');
        using vanishing = await Device.connect(gateway.port, { socket });
        await vanishing.send('has to wait');
        await eventually('it waits', paused(3));
        socket.resetAndDestroy();
        await eventually('it is gone', connected(2));
      }
      await silence.end();
      const end = await backend.event('connection.closed', (e) => e.remote_port === port);
      expect(end).toMatchObject({ reason: 'peer_closed', frames_received: LINES });
      const lines = audit.lines(end.connection_id as string);
      await eventually('its last words', () => lines.length === LINES);
      expect(audit.violations).toEqual([]);
    } finally {
      await silence.end();
    }
  });

  test('that stops answering lets devices come and go, until they have left as much as the window holds', async () => {
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      env: {
        OWSLA_LISTEN_MAX_CONNECTIONS: '10',
        OWSLA_AMQP_WINDOW_MESSAGES: '10',
        OWSLA_AMQP_WINDOW_BYTES: '256KiB',
        OWSLA_ENDPOINT_MAX_UNCONFIRMED_BYTES: '256KiB',
        OWSLA_AMQP_HEARTBEAT_SECONDS: '60',
        OWSLA_ENDPOINT_PAUSED_PEER_CHECK_MS: '100ms',
      },
    });
    await using backend = await Backend.connect(gateway.names, broker.url);
    await backend.collect();
    const connected = (count: number) => async () => (await gateway.metric('owsla_connections')) === count;
    const paused = (count: number) => async () =>
      (await gateway.metric('owsla_connections_paused')) === count;
    const refused = (reason: string) => gateway.metric('owsla_connections_refused_total', { reason });
    using busy = await Device.connect(gateway.port);
    await silence.begin();
    let left = 0;
    try {
      await busy.write('fills the window\n'.repeat(20));
      await eventually('the window is full', paused(1));
      for (; ; left++) {
        expect(left).toBeLessThan(100);
        const socket = connect(gateway.port, '127.0.0.1');
        const device = await Device.connect(gateway.port, { socket }).catch(() => undefined);
        if (device === undefined) break;
        await device.send(`left behind ${left}`);
        await eventually('it waits', paused(2));
        socket.resetAndDestroy();
        await eventually('it is gone', connected(1));
      }
      expect(await refused('broker_backlog')).toBe(1);
      expect(left).toBeGreaterThan(2 * 10);
      expect(await refused('max_connections')).toBe(0);
      await silence.end();
      await eventually('all that they left', () => backend.lines.length === 20 + left);
      using newcomer = await Device.connect(gateway.port);
      await newcomer.send('hello');
      await backend.connectionOf('hello');
    } finally {
      await silence.end();
    }
  });

  test('that stops answering is no reason to close a device whose first line waits', async () => {
    const env = {
      OWSLA_AMQP_WINDOW_MESSAGES: '10',
      OWSLA_AMQP_HEARTBEAT_SECONDS: '60',
      OWSLA_ENDPOINT_FIRST_FRAME_TIMEOUT_MS: '5s',
    };
    await using gateway = await GatewayProcess.start({ amqpUrl: broker.url, env });
    await using backend = await Backend.connect(gateway.names, broker.url);
    await backend.collect();
    using busy = await Device.connect(gateway.port);
    await silence.begin();
    try {
      await busy.write('fills the window\n'.repeat(20));
      await eventually(
        'the window is full',
        async () => (await gateway.metric('owsla_connections_paused')) === 1,
      );
      using late = await Device.connect(gateway.port);
      await late.send('first of all');
      using silent = await Device.connect(gateway.port);
      await within('the end of the one that is silent', silent.closed);
      expect(late.socket.destroyed).toBe(false);
      await silence.end();
      const id = await backend.connectionOf('first of all');
      await late.send('second');
      expect(await backend.connectionOf('second')).toBe(id);
    } finally {
      await silence.end();
    }
  });
});

/** Once its device has closed: all that a stream has sent was read, and all that was read is with the backend. */
async function expectAllOf(stream: LineStream, backend: Backend, audit: LineAudit): Promise<void> {
  const event = await backend.event('connection.closed', (e) => e.remote_port === stream.port);
  expect(event).toMatchObject({ reason: 'peer_closed', frames_received: stream.sent });
  const lines = audit.lines(event.connection_id as string);
  await eventually(`all of ${stream.line(0)}`, () => lines.length === stream.sent);
  expect(lines.findIndex((line, n) => line !== stream.line(n))).toBe(-1);
}

/** Waits until the answer has been the same for a while. */
async function unchanged(what: string, ask: () => string): Promise<void> {
  let before: string | undefined;
  let times = 0;
  await eventually(`no more ${what}`, () => {
    const now = ask();
    times = now === before ? times + 1 : 0;
    before = now;
    return times === 10;
  });
}
