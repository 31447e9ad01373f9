import type { ConsumeMessage } from 'amqplib';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { pythonDevice } from '../helpers/foreign-program.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { declareQueue, queueDepth } from '../helpers/queues.ts';

/** A gateway, a backend and one device whose connection id is known. */
class Scene {
  readonly gateway: GatewayProcess;
  readonly backend: Backend;
  readonly device: Device;
  readonly id: string;

  static async start(env: Record<string, string> = {}): Promise<Scene> {
    const gateway = await GatewayProcess.start({ env });
    const backend = await Backend.connect(gateway.names);
    await backend.collect();
    const device = await Device.connect(gateway.port);
    await device.send('hello');
    return new Scene(gateway, backend, device, await backend.connectionOf('hello'));
  }

  private constructor(gateway: GatewayProcess, backend: Backend, device: Device, id: string) {
    this.gateway = gateway;
    this.backend = backend;
    this.device = device;
    this.id = id;
  }

  /** The one queue of one consumer: what is published there is taken in that order. */
  get inbox(): string {
    return this.gateway.names.inboxPrefix + this.id.slice(-12);
  }

  /** Publishes `reply <seq>` for each number, so that they are taken in this order. */
  reply(...seqs: number[]): void {
    for (const seq of seqs) this.backend.reply(this.id, `reply ${seq}`, { seq, queue: this.inbox });
  }

  /** Publishes one that is delivered at once. */
  unordered(text: string): void {
    this.backend.reply(this.id, text, { queue: this.inbox });
  }

  /** Reason and body of what is undelivered, once there is so much of it. */
  async undelivered(count: number): Promise<string[]> {
    return (await this.backend.undeliveredCount(count)).map(
      ({ properties, content }) => `${properties.headers!.reason}: ${content}`,
    );
  }

  async metricIs(name: string, labels: Record<string, string>, value: number): Promise<void> {
    await eventually(`${name} ${value}`, async () => (await this.gateway.metric(name, labels)) === value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.device[Symbol.dispose]();
    await this.backend[Symbol.asyncDispose]();
    await this.gateway[Symbol.asyncDispose]();
  }
}

const LONG = '60000';
const UNKNOWN_NODE = 'fb0102030405';

describe('a missing reply', () => {
  test('holds the later ones until the gap timeout, then is given up', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: '1000' });
    scene.reply(0, 3, 4, 6);
    // Unordered ones do not wait for anything.
    scene.unordered('at once');
    expect(await scene.device.received(2)).toEqual(['reply 0', 'at once']);
    expect(await scene.device.received(4)).toEqual(['reply 0', 'at once', 'reply 3', 'reply 4']);
    // The clock of the second gap starts with the end of the first.
    expect(await scene.device.received(5)).toContain('reply 6');

    const first = await scene.backend.event('reply.gap', ({ from_seq }) => from_seq === 1);
    expect(first).toMatchObject({ connection_id: scene.id, from_seq: 1, to_seq: 2 });
    expect(first.waited_ms).toBeGreaterThanOrEqual(1_000);
    const second = await scene.backend.event('reply.gap', ({ from_seq }) => from_seq === 5);
    expect(second).toMatchObject({ connection_id: scene.id, from_seq: 5, to_seq: 5 });
    await scene.metricIs('owsla_reply_gaps_total', {}, 2);
    await scene.metricIs('owsla_replies_parked', {}, 0);

    // Late copies of what was given up, and of what was delivered; the order goes on.
    scene.reply(1, 5, 2, 4, 7);
    expect(await scene.device.received(6)).toContain('reply 7');
    expect(await scene.undelivered(3)).toEqual([
      'stale_sequence: reply 1',
      'stale_sequence: reply 5',
      'stale_sequence: reply 2',
    ]);
    await scene.metricIs('owsla_replies_total', { result: 'duplicate' }, 1);
    await scene.metricIs('owsla_replies_undelivered_total', { reason: 'stale_sequence' }, 3);
  });

  test('that comes in time is delivered before those that waited', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: LONG });
    scene.reply(2, 1);
    await scene.metricIs('owsla_replies_parked', {}, 2);
    scene.reply(0);
    expect(await scene.device.received(3)).toEqual(['reply 0', 'reply 1', 'reply 2']);
    await scene.metricIs('owsla_replies_parked', {}, 0);
  });

  test('closes the connection where the configuration says so', async () => {
    await using scene = await Scene.start({
      OWSLA_REPLY_GAP_TIMEOUT_MS: '300',
      OWSLA_REPLY_ON_GAP: 'close',
    });
    scene.reply(0, 2, 3);
    await scene.device.closed;
    expect(scene.device.text).toEqual(['reply 0']);
    expect(await scene.undelivered(2)).toEqual(['connection_closed: reply 2', 'connection_closed: reply 3']);
    const closed = await scene.backend.event('connection.closed');
    expect(closed).toMatchObject({ connection_id: scene.id, reason: 'reply_gap', limit: 300 });
    expect(closed.value).toBeGreaterThanOrEqual(300);
    await scene.metricIs('owsla_connections_closed_total', { reason: 'reply_gap' }, 1);
  });
});

describe('a reply that comes again', () => {
  test('is delivered once', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: LONG });
    // Again after it was delivered, while it is parked, and after that.
    scene.reply(0, 0, 2, 2, 1, 2, 0, 3);
    expect(await scene.device.received(4)).toEqual(['reply 0', 'reply 1', 'reply 2', 'reply 3']);
    await scene.metricIs('owsla_replies_total', { result: 'duplicate' }, 4);
    await scene.metricIs('owsla_replies_total', { result: 'delivered' }, 4);
    expect(await scene.backend.depth(scene.inbox)).toBe(0);
    expect(scene.backend.undelivered).toEqual([]);
  });
});

describe('a reply for nobody', () => {
  test('is not_connected once its connection has ended', async () => {
    await using scene = await Scene.start();
    await scene.device.close();
    await scene.backend.event('connection.closed');
    scene.reply(0);
    scene.unordered('unordered');
    scene.backend.reply(scene.id, 'by the shared queue', { seq: 1 });
    expect((await scene.undelivered(3)).sort()).toEqual([
      'not_connected: by the shared queue',
      'not_connected: reply 0',
      'not_connected: unordered',
    ]);
  });

  test('of a node that does not exist is not_connected after the grace', async () => {
    const graceMs = 700;
    await using scene = await Scene.start({ OWSLA_REPLY_FORWARD_GRACE_MS: String(graceMs) });
    const publishedAtMs = performance.now();
    scene.backend.reply(onNode(scene.id, UNKNOWN_NODE), 'to nowhere', { seq: 0 });
    scene.reply(0);
    // Meanwhile the others go on.
    expect(await scene.device.received(1)).toEqual(['reply 0']);
    expect(await scene.undelivered(1)).toEqual(['not_connected: to nowhere']);
    expect(performance.now() - publishedAtMs).toBeGreaterThanOrEqual(graceMs);
    expect(detailOf(scene.backend.undelivered[0]!)).toContain(UNKNOWN_NODE);
  });

  test('of a node whose inbox comes back within the grace gets there', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_FORWARD_GRACE_MS: LONG });
    const inbox = scene.gateway.names.inboxPrefix + UNKNOWN_NODE;
    const count = 50;
    for (let seq = 0; seq < count; seq++)
      scene.backend.reply(onNode(scene.id, UNKNOWN_NODE), `${seq}`, { seq });
    await eventually(
      'them taken',
      async () => (await scene.backend.depth(scene.gateway.names.toDevice)) === 0,
    );
    await declareQueue(inbox, {});
    await eventually('them forwarded', async () => (await queueDepth(inbox)) === count);
    await scene.metricIs('owsla_replies_forwarded_total', {}, count);
    expect(scene.backend.undelivered).toEqual([]);
  });
});

describe('the headers of a reply', () => {
  test('make it undelivered when they are bad, with a detail, and the next ones are delivered', async () => {
    await using scene = await Scene.start();
    const { backend, gateway } = scene;
    for (const queue of [gateway.names.toDevice, scene.inbox]) {
      for (const [index, { headers }] of BAD_HEADERS.entries())
        backend.publishRaw(Buffer.from(`${index}`), headers(scene.id), queue);
    }
    backend.publish(scene.inbox, `${BAD_HEADERS.length}`, {});
    const count = 2 * BAD_HEADERS.length + 1;
    const undelivered = await backend.undeliveredCount(count);

    scene.reply(0);
    backend.reply(scene.id, 'by the shared queue', { seq: 1 });
    expect(await scene.device.received(2)).toEqual(['reply 0', 'by the shared queue']);
    expect(backend.undelivered.length).toBe(count);
    const problems = [...BAD_HEADERS, { headers: () => ({}), detail: /^connection_id is absent$/ }];
    for (const message of undelivered) {
      const { headers, detail } = problems[Number(String(message.content))]!;
      const { reason, reason_detail, ...kept } = message.properties.headers!;
      expect(reason).toBe('bad_headers');
      expect(reason_detail).toMatch(detail);
      expect(kept).toEqual(asRead(headers(scene.id)));
    }
    await scene.metricIs('owsla_replies_undelivered_total', { reason: 'bad_headers' }, count);
  });

  test('may be integers of any type, or null', async () => {
    await using scene = await Scene.start();
    const types = ['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64'];
    const later = Date.now() + 3_600_000;
    for (const [seq, type] of types.entries()) {
      const headers = {
        to_device_seq: { '!': type, value: seq },
        expires_at: { '!': 'int64', value: later },
      };
      scene.backend.reply(scene.id, type, { queue: scene.inbox, headers });
    }
    const none = { to_device_seq: null, expires_at: null };
    scene.backend.reply(scene.id, 'null', { queue: scene.inbox, headers: none });
    expect(await scene.device.received(types.length + 1)).toEqual([...types, 'null']);
  });
});

describe('a reply with a body that is no frame', () => {
  test.each([
    { framing: 'line', body: 'two\nlines', detail: 'line feed at byte 3' },
    { framing: 'u8', body: 'x'.repeat(256), detail: '256 bytes' },
    { framing: 'u16', body: 'x'.repeat(65_536), detail: '65536 bytes' },
  ])('of framing $framing is undelivered, and gives its place up', async ({ framing, body, detail }) => {
    await using gateway = await GatewayProcess.start({ env: { OWSLA_LISTEN_FRAMING: framing } });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    await using device = pythonDevice(gateway.port);
    await device.write(framed(framing, 'hello'));
    const id = await backend.connectionOf('hello');
    backend.reply(id, body, { seq: 0 });
    backend.reply(id, 'next', { seq: 1 });

    const next = framed(framing, 'next');
    expect(await device.outputOf(next.length)).toEqual(next);
    const [undelivered] = await backend.undeliveredCount(1);
    expect(String(undelivered!.content)).toBe(body);
    expect(undelivered!.properties.headers).toMatchObject({ reason: 'bad_body', to_device_seq: 0 });
    expect(detailOf(undelivered!)).toContain(detail);
  });
});

describe('a reply that expires', () => {
  test('before it is taken is undelivered, and gives its place up', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: LONG });
    const expired = { expires_at: { '!': 'int64', value: Date.now() - 1 } };
    scene.backend.reply(scene.id, 'ordered', { seq: 0, queue: scene.inbox, headers: expired });
    scene.backend.reply(scene.id, 'unordered', { queue: scene.inbox, headers: expired });
    scene.reply(1);
    expect(await scene.device.received(1)).toEqual(['reply 1']);
    expect(await scene.undelivered(2)).toEqual(['expired: ordered', 'expired: unordered']);
  });

  test('while it is parked is not delivered when its turn comes', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: LONG });
    const expiresAt = Date.now() + 1_500;
    const headers = { expires_at: { '!': 'int64', value: expiresAt } };
    scene.backend.reply(scene.id, 'parked', { seq: 1, queue: scene.inbox, headers });
    scene.reply(2);
    await scene.metricIs('owsla_replies_parked', {}, 2);
    expect(scene.backend.undelivered).toEqual([]);
    await eventually('its time', () => Date.now() >= expiresAt);
    scene.reply(0);
    expect(await scene.device.received(2)).toEqual(['reply 0', 'reply 2']);
    expect(await scene.undelivered(1)).toEqual(['expired: parked']);
  });
});

describe('early replies', () => {
  test('past the bound overflow, and their numbers are not waited for', async () => {
    await using scene = await Scene.start({
      OWSLA_REPLY_GAP_TIMEOUT_MS: LONG,
      OWSLA_REPLY_MAX_PARKED: '3',
      OWSLA_REPLY_MAX_AHEAD: '1000',
    });
    scene.reply(1, 2, 3, 4, 5);
    expect(await scene.undelivered(2)).toEqual(['reorder_overflow: reply 4', 'reorder_overflow: reply 5']);
    scene.reply(0);
    expect(await scene.device.received(4)).toEqual(['reply 0', 'reply 1', 'reply 2', 'reply 3']);
    scene.reply(5, 6);
    expect(await scene.device.received(5)).toContain('reply 6');
    expect((await scene.undelivered(3)).at(-1)).toBe('stale_sequence: reply 5');

    // So far ahead that it must be a mistake: refused, while there is room.
    scene.reply(8, 1_008, 7);
    expect((await scene.undelivered(4)).at(-1)).toBe('reorder_overflow: reply 1008');
    expect(await scene.device.received(7)).toEqual([0, 1, 2, 3, 6, 7, 8].map((seq) => `reply ${seq}`));
  });

  test('of more bytes than the bound overflow', async () => {
    await using scene = await Scene.start({
      OWSLA_REPLY_GAP_TIMEOUT_MS: LONG,
      OWSLA_REPLY_MAX_PARKED_BYTES: '1000',
    });
    const body = (seq: number) => `${seq}`.repeat(400);
    for (const seq of [1, 2, 3]) scene.backend.reply(scene.id, body(seq), { seq, queue: scene.inbox });
    expect(await scene.undelivered(1)).toEqual([`reorder_overflow: ${body(3)}`]);
    scene.reply(0, 4);
    expect(await scene.device.received(4)).toEqual(['reply 0', body(1), body(2), 'reply 4']);
  });

  test('are undelivered when their device closes', async () => {
    await using scene = await Scene.start({ OWSLA_REPLY_GAP_TIMEOUT_MS: LONG });
    scene.reply(2, 1, 4);
    await scene.metricIs('owsla_replies_parked', {}, 3);
    await scene.device.close();
    expect(await scene.undelivered(3)).toEqual([
      'connection_closed: reply 1',
      'connection_closed: reply 2',
      'connection_closed: reply 4',
    ]);
    await scene.metricIs('owsla_replies_parked', {}, 0);
    expect(await scene.backend.depth(scene.inbox)).toBe(0);
  });
});

test('an undelivered reply keeps its body, headers and properties', async () => {
  await using scene = await Scene.start();
  await scene.device.close();
  await scene.backend.event('connection.closed');
  const body = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
  const properties = {
    contentType: 'application/x-hare',
    contentEncoding: 'identity',
    priority: 3,
    correlationId: 'correlation',
    replyTo: 'somewhere',
    messageId: 'message',
    timestamp: 1_700_000_000,
    type: 'kind',
    appId: 'app',
  };
  const headers = {
    connection_id: scene.id,
    to_device_seq: 41,
    expires_at: Date.now() + 3_600_000,
    receipt: true,
    text: 'ä\u0000',
    none: null,
    half: 0.5,
    large: -(2 ** 52),
    at: { '!': 'timestamp', value: 1_700_000_000 },
    bytes: Buffer.from([0, 255]),
    list: ['a', 1, { inner: false }],
    table: { inner: { deepest: 'x' } },
  };
  for (const queue of [scene.inbox, scene.gateway.names.toDevice])
    scene.backend.publish(queue, body, { headers, ...properties, expiration: 60_000 });
  for (const undelivered of await scene.backend.undeliveredCount(2)) {
    const { reason, reason_detail, ...kept } = undelivered.properties.headers!;
    expect(reason).toBe('not_connected');
    expect(reason_detail).not.toBe('');
    expect(kept).toEqual(headers);
    expect(undelivered.content.equals(body)).toBe(true);
    expect(undelivered.properties).toMatchObject({ ...properties, deliveryMode: 2, expiration: undefined });
  }
});

interface BadHeaders {
  headers: (id: string) => Record<string, unknown>;
  detail: RegExp;
}

const BAD_CONNECTION_IDS: [value: (id: string) => unknown, detail: RegExp][] = [
  [() => undefined, /^connection_id is absent$/],
  [() => null, /long string/],
  [() => 42, /long string/],
  [() => true, /long string/],
  [(id) => Buffer.from(id), /long string/],
  [(id) => [id], /long string/],
  [(id) => ({ id }), /long string/],
  [() => '', /UUID version 6/],
  [() => 'nonsense', /UUID version 6/],
  [(id) => `${id} `, /UUID version 6/],
  [(id) => `${id}\n`, /UUID version 6/],
  [(id) => id.replaceAll('-', ''), /UUID version 6/],
  [(id) => `${id.slice(0, 14)}4${id.slice(15)}`, /UUID version 6/],
];

const NO_COUNTS: unknown[] = [
  '0',
  '',
  -1,
  1.5,
  { '!': 'float', value: 0.5 },
  { '!': 'int64', value: 2 ** 53 },
  { '!': 'int64', value: 2n ** 63n - 1n },
  { '!': 'timestamp', value: 1 },
  { '!': 'decimal', value: { places: 0, digits: 1 } },
  true,
  Buffer.from('0'),
  [0],
  { seq: 0 },
];

const BAD_HEADERS: BadHeaders[] = [
  ...BAD_CONNECTION_IDS.map(([value, detail]) => ({
    headers: (id: string) => ({ connection_id: value(id), to_device_seq: 0 }),
    detail,
  })),
  { headers: () => ({ device_id: 'meter-0815', to_device_seq: 0 }), detail: /device_id/ },
  ...NO_COUNTS.map((value) => ({
    headers: (id: string) => ({ connection_id: id, to_device_seq: value }),
    detail: /^to_device_seq must be an integer/,
  })),
  ...NO_COUNTS.map((value) => ({
    headers: (id: string) => ({ connection_id: id, to_device_seq: 0, expires_at: value }),
    detail: /^expires_at must be an integer/,
  })),
  { headers: (id) => ({ connection_id: id, receipt: 'true' }), detail: /^receipt must be a boolean/ },
];

/** As a client reads what is published like this: numbers without their type, and nothing that is undefined. */
function asRead(headers: Record<string, unknown>): Record<string, unknown> {
  const value = (given: unknown) => {
    const { '!': type, value: inner } = (given ?? {}) as { '!'?: string; value?: unknown };
    return type === 'int64' || type === 'float' ? Number(inner) : given;
  };
  const entries = Object.entries(headers).filter(([, given]) => given !== undefined);
  return Object.fromEntries(entries.map(([name, given]) => [name, value(given)]));
}

function framed(framing: string, text: string): Buffer {
  if (framing === 'line') return Buffer.from(`${text}\n`);
  const prefix = framing === 'u8' ? [text.length] : [0, text.length];
  return Buffer.concat([Buffer.from(prefix), Buffer.from(text)]);
}

function onNode(connectionId: string, node: string): string {
  return connectionId.slice(0, -12) + node;
}

function detailOf(message: ConsumeMessage): string {
  return message.properties.headers!.reason_detail;
}
