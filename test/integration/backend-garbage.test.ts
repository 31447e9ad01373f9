import type { Options } from 'amqplib';
import { expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { eventually } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { residentBytes } from '../helpers/processes.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic } from '../helpers/traffic.ts';

const MEBIBYTE = 1_048_576;
const EARLY = 100_000;
const PARKED = 64;
const HUGE = 20;
const HUGE_BYTES = 6 * MEBIBYTE;
const UNKNOWN_NODE = 'f1f1f1f1f1f1';
/** Of arrays in arrays; the AMQP library's decoder reads some 4,000, and twice that once it has read a lot. */
const DEPTHS = [60, 100, 3_000, 4_500, 5_000, 6_000, 20_000];

it('replies that are too large take no more memory than the prefetch allows, however many there are', async () => {
  const COUNT = 400;
  const BYTES = 2 * MEBIBYTE;
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: {
      OWSLA_AMQP_PREFETCH: '5',
      OWSLA_AMQP_CONSUMERS: '2',
      OWSLA_REPLY_MAX_BYTES: '1MiB',
      OWSLA_REPLY_MAX_HELD_BYTES: '1MiB',
    },
  });
  let refused = 0;
  await using traffic = await Traffic.start(gateway, {
    lineEveryMs: 1_000,
    strayUndelivered: ({ content, properties }) => {
      if (content.length !== BYTES) return false;
      if (properties.headers!.reason === 'bad_body') refused++;
      return true;
    },
  });
  await using publisher = await Publisher.connect();
  await traffic.flows();
  const pids = [...(await gateway.workers()).values()];
  const before = pids.map(residentBytes);
  const id = traffic.ledger.connectionIdOf(traffic.devices[0]!.current.session)!;
  const inbox = gateway.inboxOf(id);
  const body = Buffer.alloc(BYTES, 'x');
  let most = 0;
  for (let n = 0; n < COUNT; n++) {
    publisher.publish(n % 2 === 0 ? inbox : gateway.names.toDevice, body, { headers: { connection_id: id } });
    if (n % 10 === 9) await publisher.flushed();
    most = Math.max(most, ...pids.map((pid, i) => residentBytes(pid) - before[i]!));
  }
  await eventually('each is undelivered', () => refused === COUNT, 60_000);
  // Fifteen at a worker, and again as many on their way to the queue of the undelivered; the rest is garbage.
  expect(most).toBeLessThan((COUNT * BYTES) / 4);
  await traffic.flows();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
}, 240_000);

it('early replies with huge headers take no more memory than replies may', async () => {
  const DEVICES = 80;
  const EACH = 120;
  const HEADER_BYTES = 60_000;
  await using gateway = await GatewayProcess.start({
    env: {
      OWSLA_AMQP_PREFETCH: '100',
      OWSLA_AMQP_CONSUMERS: '4',
      OWSLA_REPLY_GAP_TIMEOUT_MS: '10m',
      OWSLA_REPLY_MAX_HELD_BYTES: '16MiB',
    },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using fleet = await Fleet.connect(gateway.port, DEVICES);
  await Promise.all(fleet.devices.map((device, n) => device.send(`device ${n}`)));
  const ids = await Promise.all(fleet.devices.map((_, n) => backend.connectionOf(`device ${n}`)));
  const pid = (await gateway.readiness()).workers[0]!.pid;
  const before = residentBytes(pid);
  let most = 0;
  // None of them has the number 0: each has to wait for it, or finds no room to.
  for (let seq = 1; seq <= EACH; seq++) {
    for (const id of ids) backend.reply(id, 'early', { seq, headers: { baggage: 'x'.repeat(HEADER_BYTES) } });
    await backend.flushed();
    most = Math.max(most, residentBytes(pid) - before);
  }
  // Where they take all the room, gaps are given up for others.
  await eventually('all have come', async () => {
    most = Math.max(most, residentBytes(pid) - before);
    return (await backend.depth(gateway.names.toDevice)) === 0;
  });
  const delivered = () => fleet.devices.reduce((sum, { lines }) => sum + lines.length, 0);
  await fleet.close();
  await eventually(
    'a fate for each',
    () => backend.undelivered.length + delivered() === DEVICES * EACH,
    60_000,
  );
  expect(most).toBeLessThan((DEVICES * EACH * HEADER_BYTES) / 2);
}, 240_000);

it('garbage from a backend has a named fate each, and disturbs nobody', async () => {
  const fates: Record<string, number> = {};
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: {
      // What is parked waits for the end of its connection, and not for a timeout.
      OWSLA_REPLY_GAP_TIMEOUT_MS: '10m',
      OWSLA_REPLY_FORWARD_GRACE_MS: '1s',
      OWSLA_REPLY_MAX_PARKED: String(PARKED),
    },
  });
  await using traffic = await Traffic.start(gateway, {
    lineEveryMs: 1_000,
    strayUndelivered: ({ content, properties }) => {
      const [, kind] = /^garbage ([a-z]+)/.exec(content.toString('latin1', 0, 40)) ?? [];
      if (kind === undefined) return false;
      const fate = `${kind}: ${properties.headers!.reason}`;
      fates[fate] = (fates[fate] ?? 0) + 1;
      return true;
    },
  });
  await using publisher = await Publisher.connect();
  await traffic.flows();
  const workers = await gateway.workers();
  const memory = new Map([...workers.values()].map((pid) => [pid, residentBytes(pid)]));
  using target = await traffic.connectGuest('target', 'garbage');
  const id = target.connectionId;
  const queues = [gateway.names.toDevice, gateway.inboxOf(id)];
  const next = 1;
  const send = (queue: string, kind: string, headers?: Options.Publish['headers'], body = '') =>
    publisher.publish(queue, `garbage ${kind} ${body}`, headers === undefined ? {} : { headers });
  const deep = async (queue: string) => {
    for (const depth of DEPTHS) await publisher.nested(queue, id, depth, `garbage deep ${depth}`);
  };
  const int64 = (value: number) => ({ '!': 'int64', value });

  const badSeqs = [
    -1,
    1.5,
    '7',
    '',
    true,
    [0],
    { n: 1 },
    Buffer.from('0'),
    int64(-(2 ** 40)),
    int64(2 ** 53),
  ];
  const badIds = ['', 'nonsense', `${id}0`, id.replaceAll('-', ''), 42, true, null, [id], Buffer.from(id)];
  for (const queue of queues) {
    send(queue, 'bare');
    send(queue, 'empty', {});
    for (const seq of badSeqs) send(queue, 'seq', { connection_id: id, to_device_seq: seq });
    for (const badId of badIds) send(queue, 'id', { connection_id: badId, to_device_seq: next });
    send(queue, 'expiry', { connection_id: id, expires_at: 'soon' });
    send(queue, 'receipt', { connection_id: id, receipt: 1 });
    send(queue, 'stranger', { connection_id: id.slice(0, -12) + UNKNOWN_NODE, to_device_seq: 0 });
    send(queue, 'nobody', { connection_id: `00000000${id.slice(8)}`, to_device_seq: 0 });
    publisher.publish(queue, 'garbage probe', { type: 'owsla.probe' });
    send(queue, 'feed', { connection_id: id }, 'two\nlines');
    send(queue, 'far', { connection_id: id, to_device_seq: int64(2 ** 52) });
    await deep(queue);
    for (let n = 0; n < HUGE / 2; n++) send(queue, 'huge', { connection_id: id }, 'x'.repeat(HUGE_BYTES));
  }
  for (let n = 0; n < EARLY; n++)
    send(queues[n % 2]!, 'early', { connection_id: id, to_device_seq: int64(next + 1 + n) });
  for (const queue of queues) await deep(queue);
  const expected = {
    'bare: bad_headers': 2,
    'empty: bad_headers': 2,
    'seq: bad_headers': 2 * badSeqs.length,
    'id: bad_headers': 2 * badIds.length,
    'expiry: bad_headers': 2,
    'receipt: bad_headers': 2,
    'stranger: not_connected': 2,
    'nobody: not_connected': 2,
    'probe: bad_headers': 2,
    'feed: bad_body': 2,
    'far: reorder_overflow': 1,
    'far: stale_sequence': 1,
    'huge: bad_body': HUGE,
    'deep: bad_headers': 2 * queues.length * DEPTHS.length,
  };
  const count = (of: Record<string, number>) => Object.values(of).reduce((sum, n) => sum + n, 0);
  let most = 0;
  await eventually(
    'a fate for each but those that are parked',
    () => {
      for (const [pid, bytes] of memory) most = Math.max(most, residentBytes(pid) - bytes);
      return count(fates) + target.strays() >= count(expected) + EARLY - PARKED;
    },
    100_000,
  );
  expect(most).toBeLessThan(2 * HUGE * HUGE_BYTES);

  await target.close();
  await eventually(
    'a fate for those that were parked',
    () => count(fates) + target.strays() === count(expected) + EARLY,
  );
  await traffic.flows();
  const report = await traffic.settle();
  expect(fates).toMatchObject(expected);
  for (const fate of Object.keys(expected)) delete fates[fate];
  expect(fates).toEqual({
    'early: reorder_overflow': EARLY - PARKED,
    'early: connection_closed': PARKED,
  });
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, marked: 0 }, replies: { lost: 0 } });
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
  expect(await gateway.workers()).toEqual(workers);
  expect(gateway.stderr).toBe('');
}, 240_000);
