import { createRequire } from 'node:module';
import type { Message } from 'amqplib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  FORWARD_ID_HEADER,
  int64,
  parseReplyHeaders,
  resendableHeaders,
  resendableProperties,
} from '../../../src/broker/envelope.ts';

/** What amqplib itself puts headers and properties on the wire with; it has no public name. */
const amqplib = '../../../node_modules/amqplib/lib';
const { encodeTable, decodeFields } = createRequire(import.meta.url)(`${amqplib}/codec.js`) as {
  encodeTable(target: Buffer, table: object, offset: number): number;
  decodeFields(fields: Buffer): Record<string, unknown>;
};
const { encodeProperties, decode, constants } = createRequire(import.meta.url)(`${amqplib}/defs.js`) as {
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer;
  decode(id: number, bytes: Buffer): Record<string, unknown>;
  constants: { FRAME_HEADER: number };
};
const BASIC_PROPERTIES = 60;
/** Where a header frame's properties begin, behind its own fields. */
const PROPERTIES_OFFSET = 19;
const CONNECTION_ID = '1f0c6d2e-8b1a-6c40-9f3e-4b7d21c0a95e';

/** What the client makes of headers once they were sent. */
function overTheWire(headers: object): Record<string, unknown> {
  const buffer = Buffer.alloc(2 ** 18);
  return decodeFields(buffer.subarray(4, encodeTable(buffer, headers, 0)));
}

/** Sends headers as a publish with our own beside them would, into a buffer as large as the client's. */
function resend(headers: Record<string, unknown>): Record<string, unknown> {
  const ours = { ...resendableHeaders(headers), reason: 'not_connected', reason_detail: 'x'.repeat(500) };
  const fields = { headers: ours, correlationId: 'c' };
  const frame = encodeProperties(BASIC_PROPERTIES, 1, 0, fields);
  expect(frame[0]).toBe(constants.FRAME_HEADER);
  const { reason, reason_detail, ...rest } = decode(BASIC_PROPERTIES, frame.subarray(PROPERTIES_OFFSET))
    .headers as Record<string, unknown>;
  expect(reason).toBe('not_connected');
  return rest;
}

/** One field of a table as it is on the wire, for values that the client reads but does not write. */
function field(name: string | Buffer, tag: string, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), Buffer.from(tag), value]);
}

const ofInt64 = (value: bigint) =>
  Buffer.from(BigInt.asUintN(64, value).toString(16).padStart(16, '0'), 'hex');

describe('the headers of a reply', () => {
  const base = { connection_id: CONNECTION_ID };

  test.each([
    ['int8', 100, 100],
    ['uint8', 200, 200],
    ['int16', 32_000, 32_000],
    ['uint16', 65_000, 65_000],
    ['int32', 2 ** 31 - 1, 2 ** 31 - 1],
    ['uint32', 2 ** 32 - 1, 2 ** 32 - 1],
    ['int64', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['int64', 0, 0],
    ['double', 7, 7],
  ])('may number it with an AMQP %s: %d', (type, value, seq) => {
    const headers = overTheWire({ ...base, to_device_seq: { '!': type, value } });
    expect(parseReplyHeaders(headers)).toEqual({
      ok: true,
      headers: { connectionId: CONNECTION_ID, toDeviceSeq: seq, expiresAtMs: undefined, receipt: false },
    });
  });

  test('may leave number, expiry and receipt out, or void', () => {
    const absent = { ok: true, headers: { connectionId: CONNECTION_ID, receipt: false } };
    expect(parseReplyHeaders(base)).toEqual(absent);
    const voids = overTheWire({ ...base, to_device_seq: null, expires_at: null, receipt: null });
    expect(parseReplyHeaders(voids)).toEqual(absent);
  });

  test('name the connection in either case', () => {
    const parsed = parseReplyHeaders({ connection_id: CONNECTION_ID.toUpperCase() });
    expect(parsed).toMatchObject({ ok: true, headers: { connectionId: CONNECTION_ID } });
  });

  test('carry an expiry in milliseconds', () => {
    const headers = overTheWire({ ...base, expires_at: int64(1_900_000_000_000) });
    expect(parseReplyHeaders(headers)).toMatchObject({ headers: { expiresAtMs: 1_900_000_000_000 } });
  });

  test.each<[string, Record<string, unknown> | undefined, string]>([
    ['no headers at all', undefined, 'connection_id is absent'],
    ['no connection', {}, 'connection_id is absent'],
    ['a device instead', { device_id: 'meter-1' }, 'device_id'],
    ['a connection in bytes', { connection_id: Buffer.from(CONNECTION_ID) }, 'connection_id must be'],
    ['a void connection', { connection_id: null }, 'connection_id must be'],
    ['a receipt as text', { ...base, receipt: 'yes' }, 'receipt must be a boolean'],
    ['a number as text', { ...base, to_device_seq: '7' }, 'to_device_seq must be an integer'],
    ['a number in bytes', { ...base, to_device_seq: Buffer.from('7') }, 'to_device_seq must be an integer'],
    ['a negative number', { ...base, to_device_seq: -1 }, 'not -1'],
    ['a fraction', { ...base, to_device_seq: 1.5 }, 'not 1.5'],
    ['a number past 2^53', { ...base, to_device_seq: 2 ** 53 }, 'not 9007199254740992'],
    ['a truth value', { ...base, to_device_seq: true }, 'not true'],
    ['bytes', { ...base, to_device_seq: Buffer.from('7') }, 'not bytes'],
    ['an array', { ...base, to_device_seq: [7] }, 'not an array'],
    ['a table', { ...base, to_device_seq: { a: 1 } }, 'not a table'],
    ['an AMQP timestamp', { ...base, expires_at: { '!': 'timestamp', value: 1 } }, 'not a timestamp'],
    ['no number', { ...base, to_device_seq: { '!': 'double', value: Number.NaN } }, 'not NaN'],
    ['a long text', { ...base, to_device_seq: 'x'.repeat(10_000) }, 'x…'],
  ])('are wrong with %s, and the problem says so', (_, headers, problem) => {
    const parsed = parseReplyHeaders(headers === undefined ? undefined : overTheWire(headers));
    expect(parsed).toEqual({ ok: false, problem: expect.stringContaining(problem) });
    if (!parsed.ok) expect(parsed.problem.length).toBeLessThan(200);
  });

  test.each(['to_device_seq', 'expires_at', 'receipt'])('are wrong with a %s of any depth', (name) => {
    let deep: unknown[] = [];
    for (let level = 0; level < 100_000; level++) deep = [deep];
    expect(parseReplyHeaders({ ...base, [name]: deep })).toMatchObject({ ok: false });
    expect(parseReplyHeaders({ ...base, [name]: { table: deep } })).toMatchObject({ ok: false });
  });

  test('are taken or refused, but never throw', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('connection_id', 'to_device_seq', 'expires_at'), fc.anything()),
        (headers) => {
          expect(typeof parseReplyHeaders(headers).ok).toBe('boolean');
        },
      ),
    );
  });
});

test('a number of 64 bits stays one whatever its size', () => {
  const buffer = Buffer.alloc(100);
  for (const value of [0, 200, 2 ** 40]) {
    const length = encodeTable(buffer, { n: int64(value) }, 0);
    expect(buffer.toString('latin1', 6, 7)).toBe('l');
    expect(length).toBe(4 + 2 + 1 + 8);
  }
});

describe('headers that are sent again', () => {
  test('say what they said', () => {
    const headers = overTheWire({
      connection_id: CONNECTION_ID,
      to_device_seq: int64(5),
      text: 'grüße',
      flag: true,
      nothing: null,
      bytes: Buffer.from([0, 1, 255]),
      at: { '!': 'timestamp', value: 1_900_000_000 },
      price: { '!': 'decimal', value: { places: 2, digits: 1_999 } },
      half: 0.5,
      list: [1, 'two', [3], { four: 4 }],
      table: { deeper: { list: [true, null] } },
    });
    expect(resend(headers)).toEqual(headers);
  });

  test('keep numbers of every size as near as the client can read them', () => {
    const numbers = [
      0,
      -1,
      127,
      128,
      -129,
      2 ** 31,
      -(2 ** 31) - 1,
      2 ** 53 - 1,
      2 ** 53,
      -(2 ** 53),
      2 ** 63,
      -(2 ** 63),
      2 ** 64,
      1e300,
      -1e300,
      0.1,
      2 ** 50 + 0.5,
      -(2 ** 51) - 0.5,
      Number.MAX_VALUE,
      Number.MIN_VALUE,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ];
    for (const value of numbers) expect(resend({ value, list: [value] })).toEqual({ value, list: [value] });
  });

  test.each([
    ['int64', 'l', 2n ** 63n - 1n],
    ['int64', 'l', -(2n ** 63n)],
    ['timestamp', 'T', 2n ** 64n - 1n],
    ['timestamp', 'T', 2n ** 53n + 1n],
  ])('hold the largest %s (%s) %d that a stranger can send', (_, tag, value) => {
    const received = decodeFields(field('n', tag, ofInt64(value)));
    const sent = resend(received).n as number | { value: number };
    expect(typeof sent === 'number' ? sent : sent.value).toBe(Number(value));
  });

  test('leave out what would route the copy to other queues, and our own mark', () => {
    const headers = { CC: ['other'], BCC: ['another'], [FORWARD_ID_HEADER]: 7, kept: 1 };
    expect(resend(headers)).toEqual({ kept: 1 });
    expect(headers).toHaveProperty('CC');
  });

  test('leave out names of types, which the client would take for its own', () => {
    const headers = overTheWire({ outer: { deeper: 1 }, list: [{}] });
    (headers.outer as Record<string, unknown>)['!'] = 'no such type';
    (headers.list as Record<string, unknown>[])[0]!['!'] = 'int8';
    headers['!'] = 'timestamp';
    headers.value = 3;
    expect(resend(headers)).toEqual({ outer: { deeper: 1 }, list: [{}], value: 3 });
  });

  test('take no table for a timestamp or decimal that cannot be one', () => {
    const headers = {
      early: { '!': 'timestamp', value: -1 },
      late: { '!': 'timestamp', value: 'tomorrow' },
      places: { '!': 'decimal', value: { places: 300, digits: 1 } },
      digits: { '!': 'decimal', value: { places: 1, digits: -1 } },
      none: { '!': 'decimal', value: null },
    };
    expect(resend(headers)).toEqual({
      early: -1,
      late: { value: 'tomorrow' },
      places: { value: { places: 300, digits: 1 } },
      digits: { value: { places: 1, digits: -1 } },
      none: { value: null },
    });
  });

  test('leave out names that cannot be written again', () => {
    // 100 bytes that are no UTF-8 are read as 100 replacement characters of three bytes each.
    const unreadable = field(Buffer.alloc(100, 0xff), 't', Buffer.from([1]));
    const received = decodeFields(Buffer.concat([unreadable, field('fine', 't', Buffer.from([1]))]));
    expect(Object.keys(received)).toHaveLength(2);
    expect(resend(received)).toEqual({ fine: true });
  });

  test.each([1_000, 3_500])('can be sent when a stranger nests them %d levels deep', (levels) => {
    let list: unknown = 'innermost';
    for (let n = 0; n < levels; n++) list = n % 2 === 0 ? [list] : { list };
    const sent = resend({ connection_id: CONNECTION_ID, list });
    expect(sent.connection_id).toBe(CONNECTION_ID);
  });

  test.each<[string, unknown]>([
    ['text', 'x'.repeat(70_000)],
    ['text of wide characters', '語'.repeat(30_000)],
    ['bytes', Buffer.alloc(70_000)],
    ['an array of empty texts', new Array(20_000).fill('')],
    ['an array of empty arrays', new Array(20_000).fill([])],
    ['an array of numbers', new Array(20_000).fill(0.5)],
  ])('are dropped but for those of the contract when there is too much %s', (_, large) => {
    const contract = { connection_id: CONNECTION_ID, to_device_seq: 5, expires_at: 1_900_000_000_000 };
    expect(resend({ ...contract, large })).toEqual({ ...contract, headers_dropped: true });
  });

  test('are dropped altogether when those of the contract are too large', () => {
    expect(resend({ connection_id: 'x'.repeat(100_000), to_device_seq: 1 })).toEqual({
      headers_dropped: true,
    });
  });

  test('can be encoded whatever a stranger has sent', () => {
    const { value: anyValue } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        fc.string({ unit: 'binary' }),
        fc.double(),
        fc.maxSafeInteger(),
        fc.boolean(),
        fc.constant(null),
        fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        fc.record({ '!': fc.constantFrom('timestamp', 'decimal', 'int8', 'x'), value: tie('value') }),
        fc.array(tie('value')),
        fc.dictionary(fc.string(), tie('value')),
      ),
    }));
    fc.assert(
      fc.property(fc.dictionary(fc.oneof(fc.string(), fc.constant('!')), anyValue), (headers) => {
        resend(headers as Record<string, unknown>);
      }),
      { numRuns: 150 },
    );
  });
});

describe('properties that are sent again', () => {
  const received = (properties: object) => ({ properties }) as Message;

  test('are those that say something about the content, and the message is kept', () => {
    const kept = {
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      priority: 3,
      correlationId: 'c',
      replyTo: 'r',
      messageId: 'm',
      timestamp: 1_900_000_000,
      type: 't',
      appId: 'a',
    };
    const dropped = { expiration: '1000', userId: 'guest', deliveryMode: 1, headers: {}, clusterId: 'x' };
    expect(resendableProperties(received({ ...kept, ...dropped }))).toEqual({
      ...kept,
      persistent: true,
      mandatory: true,
    });
  });

  test('can be encoded whatever a stranger has sent', () => {
    // 255 bytes that are no UTF-8 are read as 255 characters of three bytes each.
    const unreadable = Buffer.alloc(255, 0xff).toString();
    const names = [
      'contentType',
      'contentEncoding',
      'correlationId',
      'replyTo',
      'messageId',
      'type',
      'appId',
    ];
    const properties = Object.fromEntries(names.map((name) => [name, unreadable]));
    const sent = resendableProperties(received({ ...properties, timestamp: 2 ** 64 }));
    expect(() => encodeProperties(BASIC_PROPERTIES, 1, 0, sent)).not.toThrow();
    expect(sent.correlationId).toBeUndefined();
  });
});
