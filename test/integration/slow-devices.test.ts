import { describe, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

/** Some hundred of these are more than the kernels hold between a gateway and a device that does not read. */
const LARGE = 32_768;
const REPLIES = 400;
/** Few enough for every limit. */
const BRISK = 50;
const MEBIBYTE = 1_048_576;

/** What is not to be hit in a test, out of the way. */
const WIDE = {
  OWSLA_REPLY_MAX_PENDING: '10000',
  OWSLA_REPLY_MAX_PENDING_BYTES: '64MiB',
  OWSLA_REPLY_MAX_PARKED: '10000',
  OWSLA_REPLY_MAX_PARKED_BYTES: '64MiB',
  OWSLA_REPLY_WRITE_TIMEOUT_MS: '60s',
};

test('what a slow device has not taken stays with the broker when the channel it came by is lost', async () => {
  await using broker = await PrivateBroker.start();
  await using gateway = await GatewayProcess.start({ amqpUrl: broker.url, env: WIDE });
  await using backend = await Backend.connect(gateway.names, broker.url);
  await backend.collect();
  using slow = await Device.connect(gateway.port);
  const slowId = await helloFrom(slow, backend, 'slow');
  const { replyTo: inbox } = backend.lines[0]!.properties;
  slow.socket.pause();
  for (let n = 0; n < REPLIES; n++) backend.reply(slowId, numbered(n), { seq: n, queue: inbox });
  await backend.flushed();
  const unsettled = async () => {
    const listed = await broker.ctl('list_queues', '--formatter', 'json', 'name', 'messages');
    return JSON.parse(listed).find(({ name }: { name: string }) => name === inbox)?.messages as number;
  };
  let held = -1;
  await eventually('the kernels take no more', async () => {
    const before = held;
    held = await unsettled();
    return held === before;
  });
  expect(held).toBeGreaterThan(100);

  const received = await gateway.metric('owsla_replies_total', { result: 'duplicate' });
  await closeConnection(broker, ' consume');
  await eventually('the copies have come', async () => {
    const duplicates = await gateway.metric('owsla_replies_total', { result: 'duplicate' });
    return duplicates - received >= held;
  });
  expect(await unsettled()).toBe(held);

  const [[, pid]] = [...(await gateway.workers())] as [[string, number]];
  process.kill(pid, 'SIGKILL');
  const undelivered = await backend.undeliveredCount(held);
  const numbers = undelivered.map(({ content }) => Number.parseInt(String(content), 10));
  expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: held }, (_, n) => REPLIES - held + n));
});

/** As an operator does it. */
async function closeConnection(broker: PrivateBroker, name: string): Promise<void> {
  const listed = await broker.ctl('list_connections', 'pid', 'client_properties');
  const [pid] = listed
    .split('\n')
    .find((line) => line.includes(`${name}"`))!
    .split('\t');
  await broker.ctl('close_connection', pid!, 'test');
}

describe('a device that never reads is closed as slow_consumer', () => {
  test.each([
    ['replies that wait', { OWSLA_REPLY_MAX_PENDING: '100' }, 100, 'reply.maxPending'],
    ['bytes that wait', { OWSLA_REPLY_MAX_PENDING_BYTES: '1MiB' }, MEBIBYTE, 'reply.maxPendingBytes'],
    ['time without progress', { OWSLA_REPLY_WRITE_TIMEOUT_MS: '1s' }, 1_000, 'reply.writeTimeoutMs'],
  ])('at the limit on %s; every reply is accounted for', async (_, env, limit, key) => {
    await using gateway = await GatewayProcess.start({ env: { ...WIDE, ...env } });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    using slow = await Device.connect(gateway.port);
    using brisk = await Device.connect(gateway.port);
    const slowId = await helloFrom(slow, backend, 'slow');
    const briskId = await helloFrom(brisk, backend, 'brisk');
    const port = slow.socket.localPort!;
    slow.socket.pause();

    for (let n = 0; n < REPLIES; n++) {
      backend.reply(slowId, numbered(n), { seq: n });
      if (n < BRISK) backend.reply(briskId, `brisk ${n}`, { seq: n });
    }
    await backend.flushed();

    const event = await backend.event('connection.closed', (e) => e.remote_port === port);
    expect(event).toMatchObject({ reason: 'slow_consumer', established: true, limit });
    expect(event.value).toBeGreaterThanOrEqual(limit);
    expect(event.detail).toContain(key);
    expect(await gateway.metric('owsla_connections_closed_total', { reason: 'slow_consumer' })).toBe(1);
    expect(await brisk.received(BRISK)).toEqual(Array.from({ length: BRISK }, (_, n) => `brisk ${n}`));

    // Those that were handed to the kernel come first in the order; the fate of all others is recorded, once each.
    const delivered = event.frames_sent as number;
    expect(event.last_to_device_seq).toBeGreaterThanOrEqual(delivered - 1);
    const undelivered = await backend.undeliveredCount(REPLIES - delivered);
    const numbers = undelivered.map((message) => Number.parseInt(String(message.content), 10));
    expect(numbers.sort((a, b) => a - b)).toEqual(
      Array.from({ length: REPLIES - delivered }, (_, n) => delivered + n),
    );
    const reasons = countBy(undelivered.map(({ properties }) => properties.headers?.reason));
    // What came after the close found nobody.
    expect(Object.keys(reasons).sort()).toEqual(
      reasons.not_connected ? ['not_connected', 'slow_consumer'] : ['slow_consumer'],
    );
    expect(await gateway.metric('owsla_replies_total', { result: 'delivered' })).toBe(delivered + BRISK);
    expect(await gateway.metric('owsla_replies_undelivered_total', { reason: 'slow_consumer' })).toBe(
      reasons.slow_consumer,
    );
    expect(await backend.depth(gateway.names.toDevice)).toBe(0);

    // Handed to the kernel means that a device that does read later gets it.
    slow.socket.resume();
    await within('close', slow.closed);
    const lines = slow.text.map((line) => Number.parseInt(line, 10));
    expect(lines.slice(0, delivered)).toEqual(Array.from({ length: delivered }, (_, n) => n));
  });
});

test('a device that reads is not taken for slow, however many replies come at once', async () => {
  const BURST = 10_000;
  await using gateway = await GatewayProcess.start();
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  const id = await helloFrom(device, backend, 'a device that reads');
  for (let n = 0; n < BURST; n++) backend.reply(id, numbered(n, 100));
  await backend.flushed();
  await eventually('the whole burst', () => device.lines.length === BURST || device.socket.destroyed);
  expect(device.socket.destroyed).toBe(false);
  expect(new Set(device.text).size).toBe(BURST);
  expect(await gateway.metric('owsla_connections_closed_total')).toBe(0);
  expect(backend.undelivered).toEqual([]);
});

describe('a device that is slow within its limits', () => {
  test.each([
    ['from the shared queue', { inbox: false, count: REPLIES, consumers: 8, setsAside: false }],
    [
      'more than a prefetch, from the shared queue',
      { inbox: false, count: REPLIES, consumers: 1, setsAside: true },
    ],
    ['more than a prefetch, from its inbox', { inbox: true, count: 1_000, consumers: 8, setsAside: true }],
  ])('gets every reply in the end, and holds nobody up meanwhile: %s', async (_, scene) => {
    const { inbox, count, consumers, setsAside } = scene;
    const env = { ...WIDE, OWSLA_AMQP_CONSUMERS: String(consumers) };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await answerPings(backend, { inbox });
    using slow = await Device.connect(gateway.port);
    using brisk = await Device.connect(gateway.port);
    const slowId = await helloFrom(slow, backend, 'slow');
    const queue = inbox ? { queue: backend.lines[0]!.properties.replyTo } : {};
    slow.socket.pause();
    for (let n = 0; n < count; n++) backend.reply(slowId, numbered(n), { seq: n, ...queue });
    await backend.flushed();
    await stalled(gateway);

    for (let n = 0; n < 100; n++) {
      await brisk.send(`ping ${n}`);
      await brisk.received(n + 1);
    }
    expect(brisk.text).toEqual(Array.from({ length: 100 }, (_, n) => `ping ${n}`));
    expect(await gateway.metric('owsla_connections')).toBe(2);
    expect((await gateway.metric('owsla_replies_set_aside_total')) > 0).toBe(setsAside);
    expect((await gateway.readiness()).ready).toBe(true);

    slow.socket.resume();
    const lines = await slow.received(count);
    expect(lines.map((line) => Number.parseInt(line, 10))).toEqual(
      Array.from({ length: count }, (_, n) => n),
    );
    expect(backend.undelivered).toEqual([]);
  });

  test('lets go when the memory for replies is full: it is closed', async () => {
    await using gateway = await GatewayProcess.start({
      env: { ...WIDE, OWSLA_REPLY_MAX_HELD_BYTES: '4MiB' },
    });
    await using backend = await Backend.connect(gateway.names);
    await answerPings(backend, { inbox: true });
    using slow = await Device.connect(gateway.port);
    using brisk = await Device.connect(gateway.port);
    const slowId = await helloFrom(slow, backend, 'slow');
    const queue = backend.lines[0]!.properties.replyTo;
    slow.socket.pause();
    for (let n = 0; n < 1_000; n++) backend.reply(slowId, numbered(n), { queue });
    await backend.flushed();

    await brisk.send('ping');
    expect(await brisk.received(1)).toEqual(['ping']);
    const event = await backend.event('connection.closed', (e) => e.remote_port === slow.socket.localPort);
    expect(event).toMatchObject({
      reason: 'slow_consumer',
      detail: expect.stringContaining('reply.maxHeldBytes'),
    });
  });

  test('lets go when the memory for replies is full: many that wait for a number give it up', async () => {
    const DEVICES = 100;
    const EARLY = 60;
    const env = { ...WIDE, OWSLA_REPLY_MAX_HELD_BYTES: '8MiB', OWSLA_REPLY_GAP_TIMEOUT_MS: '60s' };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await answerPings(backend, { inbox: true });
    using brisk = await Device.connect(gateway.port);
    using waiting = await Fleet.connect(gateway.port, DEVICES);
    const ids = await Promise.all(
      waiting.devices.map((device, n) => helloFrom(device, backend, `waiting ${n}`)),
    );
    const queue = backend.lines[0]!.properties.replyTo;
    for (const id of ids)
      for (let seq = 1; seq <= EARLY; seq++) backend.reply(id, numbered(seq, 1_000), { queue, seq });
    await backend.flushed();
    await brisk.send('ping');
    expect(await brisk.received(1)).toEqual(['ping']);

    const gaps = await gateway.metric('owsla_reply_gaps_total');
    expect(gaps).toBeGreaterThan(0);
    expect(gaps).toBeLessThan(DEVICES);
    expect(await gateway.metric('owsla_connections')).toBe(DEVICES + 1);
    // The number that the others still wait for.
    for (const id of ids) backend.reply(id, numbered(0, 1_000), { queue, seq: 0 });
    for (const device of waiting.devices) {
      const numbers = (await device.received(EARLY)).map((line) => Number.parseInt(line, 10));
      expect(numbers.slice(-EARLY)).toEqual(Array.from({ length: EARLY }, (_, n) => n + 1));
    }
    await backend.undeliveredCount(gaps);
    expect(backend.undelivered.map(({ properties }) => properties.headers!.reason)).toEqual(
      Array(gaps).fill('stale_sequence'),
    );
  });

  test.each([
    [
      'one, to those whose replies come through the same inbox',
      {
        devices: 1,
        inbox: true,
        bytes: 10_000,
        // All other bounds are the defaults: a device may have more waiting than one channel's prefetch.
        env: { OWSLA_REPLY_WRITE_TIMEOUT_MS: '60s' },
      },
    ],
    [
      'several, to those whose replies come through the same channels',
      {
        devices: 3,
        inbox: false,
        bytes: LARGE,
        // In proportion to the defaults: two devices may have as much waiting as all channels' prefetch.
        env: { ...WIDE, OWSLA_AMQP_CONSUMERS: '2', OWSLA_AMQP_PREFETCH: '64', OWSLA_REPLY_MAX_PENDING: '64' },
      },
    ],
  ])('does no harm: %s', async (_, { devices, inbox, bytes, env }) => {
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    await answerPings(backend, { inbox });
    using brisk = await Device.connect(gateway.port);
    using slow = await Fleet.connect(gateway.port, devices);
    const ids: string[] = [];
    for (const device of slow.devices) {
      ids.push(await helloFrom(device, backend, `slow ${ids.length}`));
      device.socket.pause();
    }
    const queue = inbox ? { queue: backend.lines[0]!.properties.replyTo } : {};
    for (let n = 0; n < 1_000; n++) for (const id of ids) backend.reply(id, numbered(n, bytes), queue);
    await backend.flushed();
    await stalled(gateway);

    await brisk.send('ping');
    expect(await brisk.received(1, 15_000)).toEqual(['ping']);
    expect((await gateway.readiness()).ready).toBe(true);
  });
});

/** Keeps every line, and answers those that are pings. */
async function answerPings(backend: Backend, { inbox }: { inbox: boolean }): Promise<void> {
  await backend.consume((message) => {
    backend.lines.push(message);
    const { headers, replyTo } = message.properties;
    if (!String(message.content).startsWith('ping')) return;
    backend.reply(headers!.connection_id, message.content, inbox ? { queue: replyTo } : {});
  });
}

async function helloFrom(device: Device, backend: Backend, name: string): Promise<string> {
  await device.send(`hello from ${name}`);
  return await backend.connectionOf(`hello from ${name}`);
}

function numbered(n: number, bytes = LARGE): string {
  return `${n} `.padEnd(bytes, '.');
}

/** Waits until no more replies go out to devices. */
async function stalled(gateway: GatewayProcess): Promise<void> {
  let before = -1;
  let times = 0;
  await eventually('the writes to the device stall', async () => {
    const sent = await gateway.metric('owsla_frames_sent_total');
    times = sent === before && sent > 0 ? times + 1 : 0;
    before = sent;
    return times === 10;
  });
}

function countBy(values: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
