import type { Channel } from 'amqplib';

/** What amqplib has no public name for: a channel's number, and where its frames are written to. */
interface ChannelInternals {
  readonly ch: number;
  readonly connection: {
    readonly channels: readonly { readonly buffer: { write(bytes: Buffer): boolean } }[];
  };
}

const METHOD = 1;
const CONTENT_HEADER = 2;
const BODY = 3;
const FRAME_END = 0xce;
const BASIC = 60;
const PUBLISH = 40;
const HAS_HEADERS = 0x2000;

/**
 * Publishes a message with a header whose value is an array in an array, so many deep. amqplib's own encoder cannot:
 * it would overflow the stack.
 */
export function publishNested(
  channel: Channel,
  queue: string,
  { strings, nested, depth }: { strings: Record<string, string>; nested: string; depth: number },
  body: string,
): void {
  const table = Buffer.concat([
    ...Object.entries(strings).map(([name, value]) =>
      Buffer.concat([shortString(name), Buffer.from('S'), long(value.length), Buffer.from(value)]),
    ),
    shortString(nested),
    arrays(depth),
  ]);
  const bytes = Buffer.from(body);
  const { ch, connection } = channel as unknown as ChannelInternals;
  const noFlags = Buffer.from([0]);
  const ticket = short(0);
  const frames = [
    frame(METHOD, ch, [short(BASIC), short(PUBLISH), ticket, shortString(''), shortString(queue), noFlags]),
    frame(CONTENT_HEADER, ch, [
      short(BASIC),
      short(0),
      long(0),
      long(bytes.length),
      short(HAS_HEADERS),
      long(table.length),
      table,
    ]),
    frame(BODY, ch, [bytes]),
  ];
  for (const each of frames) connection.channels[ch]!.buffer.write(each);
}

/** From the outside in, each is a type and the length of what is in it. */
function arrays(depth: number): Buffer {
  const levels = Array.from({ length: depth }, (_, level) =>
    Buffer.concat([Buffer.from('A'), long(5 * (depth - 1 - level))]),
  );
  return Buffer.concat(levels);
}

function frame(type: number, channel: number, payload: Buffer[]): Buffer {
  const size = payload.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([
    Buffer.from([type]),
    short(channel),
    long(size),
    ...payload,
    Buffer.from([FRAME_END]),
  ]);
}

function shortString(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
}

function short(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function long(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
