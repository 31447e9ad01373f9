import { describe, expect, inject, test } from 'vitest';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import {
  ForeignProgram,
  opensslDevice,
  type PikaLine,
  pikaBackend,
  pikaLines,
  pythonDevice,
} from '../helpers/foreign-program.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { declareQueue } from '../helpers/queues.ts';

const MAX_FRAME_BYTES = 65_536;
const LF = Buffer.from('\n');

/** A version 6 UUID whose node field has the multicast bit: the lowest of its first byte. */
const CONNECTION_ID =
  /^[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f][13579bdf][0-9a-f]{10}$/;

describe('a device and a backend that are none of our code', () => {
  test('exchange any bytes: openssl s_client, and Python with pika answering to reply_to', async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await pikaBackend(gateway.names.fromDevice);
    await using device = opensslDevice(gateway.port);

    await device.write(Buffer.concat(LINES.flatMap(({ sent }) => [sent, LF])));
    await expectEchoed(
      backend,
      device,
      LINES.map(({ body }) => body),
      line,
    );
    expectContract(pikaLines(backend), gateway);
  });

  test("exchange any bytes: Python's ssl, and pika answering on the shared queue", async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await pikaBackend(gateway.names.fromDevice, gateway.names.toDevice);
    await using device = pythonDevice(gateway.port);

    await device.write(Buffer.concat(LINES.flatMap(({ sent }) => [sent, LF])));
    await expectEchoed(
      backend,
      device,
      LINES.map(({ body }) => body),
      line,
    );
    expectContract(pikaLines(backend), gateway);
  });

  test('exchange any bytes over quorum queues', async () => {
    await using gateway = await GatewayProcess.start({ env: { OWSLA_AMQP_QUEUE_TYPE: 'quorum' } });
    await using backend = await pikaBackend(gateway.names.fromDevice);
    await using device = pythonDevice(gateway.port);

    await device.write(Buffer.concat(LINES.flatMap(({ sent }) => [sent, LF])));
    await expectEchoed(
      backend,
      device,
      LINES.map(({ body }) => body),
      line,
    );
    expectContract(pikaLines(backend), gateway);

    const { fromDevice, toDevice, undelivered, deadLetter } = gateway.names;
    const inbox = pikaLines(backend)[0]!.reply_to;
    const deadLettersTo = (queue: string) => ({
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': queue,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
      'x-delivery-limit': 20,
    });
    const beside: [string, Record<string, unknown>][] = [
      [fromDevice, deadLettersTo(deadLetter)],
      [toDevice, deadLettersTo(undelivered)],
      [inbox, { ...deadLettersTo(undelivered), 'x-message-ttl': 60_000, 'x-expires': 86_400_000 }],
      [undelivered, {}],
      [deadLetter, {}],
    ];
    for (const [queue, args] of beside) {
      await declareQueue(queue, { 'x-queue-type': 'quorum', ...args });
      await expect(declareQueue(queue, args)).rejects.toThrow("inequivalent arg 'x-queue-type'");
    }
  });

  test.each([
    { framing: 'u8', prefixBytes: 1, largest: 255 },
    { framing: 'u16', prefixBytes: 2, largest: 65_535 },
    { framing: 'u32', prefixBytes: 4, largest: MAX_FRAME_BYTES },
  ])('exchange frames with a $framing length before them', async ({ framing, prefixBytes, largest }) => {
    await using gateway = await GatewayProcess.start({ env: { OWSLA_LISTEN_FRAMING: framing } });
    await using backend = await pikaBackend(gateway.names.fromDevice);
    await using device = pythonDevice(gateway.port);

    const everyByte = Array.from({ length: 256 }, (_, value) => Buffer.from([value]));
    const bodies = [Buffer.alloc(0), ...everyByte, Buffer.from('\r\n'), pattern(largest), Buffer.alloc(0)];
    const frame = (body: Buffer) => {
      const prefix = Buffer.alloc(prefixBytes);
      prefix.writeUIntBE(body.length, 0, prefixBytes);
      return Buffer.concat([prefix, body]);
    };
    await device.write(Buffer.concat(bodies.map(frame)));
    await expectEchoed(backend, device, bodies, frame);
    expectContract(pikaLines(backend), gateway);
  });

  test('exchange lines through amqp-consume and amqp-publish', async () => {
    await using gateway = await GatewayProcess.start();
    await using backend = await Backend.connect(gateway.names);
    const opened = `${gateway.names.events}.opened`;
    await backend.bindQueue(opened, 'connection.opened');
    await using device = opensslDevice(gateway.port);
    await device.write('hello\nhare\n');

    const tool = (program: string, ...args: string[]) =>
      new ForeignProgram(program, ['--url', inject('amqpUrl'), ...args]);
    const consume = (queue: string, count: number) =>
      tool('amqp-consume', '--queue', queue, '--prefetch-count=1', `--count=${count}`, 'cat').finished();
    expect(String(await consume(gateway.names.fromDevice, 2))).toBe('hellohare');
    const { connection_id } = JSON.parse(String(await consume(opened, 1)));

    for (const queue of [gateway.names.toDevice, gateway.names.inboxPrefix + connection_id.slice(-12)]) {
      const header = `--header=connection_id: ${connection_id}`;
      await using publish = tool('amqp-publish', '--persistent', `--routing-key=${queue}`, header);
      await publish.write(Buffer.concat([Buffer.from(`${queue} `), ALL_BUT_LF]));
      publish.end();
      await publish.finished();
      const answer = Buffer.concat([Buffer.from(`${queue} `), ALL_BUT_LF, LF]);
      await eventually(`the reply by ${queue}`, () => device.output.includes(answer));
    }
  });
});

test('a line is on the wire as the contract says, its number always as a 64-bit integer', async () => {
  await using tap = await AmqpTap.start(inject('amqpUrl'));
  await using gateway = await GatewayProcess.start({ amqpUrl: tap.url });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  // Past what one byte and what two bytes hold.
  const count = 33_000;
  const before = BigInt(Math.floor(Date.now() / 1_000));
  await device.write('x\n'.repeat(count));
  await eventually(`${count} lines`, () => backend.lines.length >= count);
  const after = BigInt(Math.floor(Date.now() / 1_000));

  const connectionId: string = backend.lines[0]!.properties.headers!.connection_id;
  const lines = tap.published.filter(({ routingKey }) => routingKey === gateway.names.fromDevice);
  expect(lines.length).toBe(count);
  const odd = lines.filter(({ headers, timestamp, ...properties }, index) => {
    const asExpected =
      Object.keys(headers).join() === 'connection_id,from_device_seq' &&
      headers.connection_id!.type === 'S' &&
      headers.connection_id!.value === connectionId &&
      headers.from_device_seq!.type === 'l' &&
      headers.from_device_seq!.value === BigInt(index) &&
      timestamp! >= before &&
      timestamp! <= after &&
      properties.exchange === '' &&
      properties.mandatory &&
      properties.deliveryMode === 2 &&
      properties.replyTo === gateway.names.inboxPrefix + connectionId.slice(-12);
    return !asExpected;
  });
  expect(odd).toEqual([]);
});

/** Bytes of every value in turn, and no CR at the end. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length, Buffer.from(Array.from({ length: 251 }, (_, i) => (i * 31 + 7) & 0xff)));
  bytes[length - 1] = 0x7a;
  return bytes;
}

const ALL_BUT_LF = Buffer.from(Array.from({ length: 256 }, (_, value) => value).filter((v) => v !== 0x0a));
const LARGEST_LINE = Buffer.from(pattern(MAX_FRAME_BYTES).map((byte) => (byte === 0x0a ? 0x0b : byte)));

/** What a device sends before an LF, and the body that is to come of it. */
const LINES: { sent: Buffer; body: Buffer }[] = [
  ...[...ALL_BUT_LF].map((value) => Buffer.from([0x61, value, 0x62])).map(asItIs),
  asItIs(ALL_BUT_LF),
  asItIs(Buffer.alloc(0)),
  { sent: Buffer.from('\r'), body: Buffer.alloc(0) },
  { sent: Buffer.from('text\r'), body: Buffer.from('text') },
  { sent: Buffer.from('\r\r'), body: Buffer.from('\r') },
  asItIs(Buffer.from('\rtext')),
  asItIs(LARGEST_LINE),
  { sent: Buffer.concat([LARGEST_LINE, Buffer.from('\r')]), body: LARGEST_LINE },
  asItIs(Buffer.from('last')),
];

function asItIs(bytes: Buffer): { sent: Buffer; body: Buffer } {
  return { sent: bytes, body: bytes };
}

function line(body: Buffer): Buffer {
  return Buffer.concat([body, LF]);
}

/** The backend gets these bodies, in this order, and the device gets them back as frames. */
async function expectEchoed(
  backend: ForeignProgram,
  device: ForeignProgram,
  bodies: Buffer[],
  frame: (body: Buffer) => Buffer,
): Promise<void> {
  const expected = Buffer.concat(bodies.map(frame));
  const got = await device.outputOf(expected.length);
  await eventually('the backend tells of each', () => pikaLines(backend).length >= bodies.length);
  expect(pikaLines(backend).map(({ body }) => body)).toEqual(bodies.map((body) => body.toString('hex')));
  expect(got.equals(expected)).toBe(true);
}

/** Headers and properties of all lines of one connection. */
function expectContract(lines: PikaLine[], gateway: GatewayProcess): void {
  const connectionId = lines[0]!.headers.connection_id as string;
  expect(connectionId).toMatch(CONNECTION_ID);
  const now = Date.now() / 1_000;
  for (const [index, { headers, types, delivery_mode, reply_to, timestamp }] of lines.entries()) {
    expect(headers).toEqual({ connection_id: connectionId, from_device_seq: index });
    // `long` is what pika makes of a 64-bit integer alone.
    expect(types).toEqual({ connection_id: 'str', from_device_seq: 'long' });
    expect(delivery_mode).toBe(2);
    expect(reply_to).toBe(gateway.names.inboxPrefix + connectionId.slice(-12));
    expect(timestamp).toBeGreaterThan(now - 120);
    expect(timestamp).toBeLessThanOrEqual(now);
  }
}
