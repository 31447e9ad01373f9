import { once } from 'node:events';
import { type AddressInfo, createServer, connect as openSocket, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';

/** A header as it was on the wire. */
export interface TappedHeader {
  /** Its type in the field table: `l` is a 64-bit integer, `S` a long string, `t` a boolean. */
  type: string;
  value: bigint | string | boolean;
}

/** A basic.publish with its properties, read from the wire. */
export interface TappedPublish {
  exchange: string;
  routingKey: string;
  mandatory: boolean;
  headers: Record<string, TappedHeader>;
  deliveryMode: number | undefined;
  replyTo: string | undefined;
  timestamp: bigint | undefined;
}

/**
 * Stands between clients and their broker. It notes every basic.publish as it is on the wire, because client
 * libraries read all integer types as one and the same; and it can hold back what the broker says, or spoil an ack or
 * a publish.
 */
export class AmqpTap {
  readonly published: TappedPublish[] = [];
  /** What becomes of connections that are opened from now on. */
  opening: Opening = {};
  readonly #server: Server;
  readonly #connections = new Set<TappedConnection>();
  readonly #broker: URL;

  static async start(amqpUrl: string): Promise<AmqpTap> {
    const tap = new AmqpTap(new URL(amqpUrl));
    tap.#server.listen(0, '127.0.0.1');
    await once(tap.#server, 'listening');
    return tap;
  }

  private constructor(broker: URL) {
    this.#broker = broker;
    this.#server = createServer((client) => this.#join(client));
  }

  /** Where the client is to connect to. */
  get url(): string {
    const url = new URL(this.#broker);
    url.host = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return url.href;
  }

  /** How many of its clients are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Hands on nothing more of what the broker sends to connections whose name contains the text. */
  hold(name: string): void {
    for (const connection of this.#named(name)) connection.hold();
  }

  release(name: string): void {
    for (const connection of this.#named(name)) connection.release();
  }

  /**
   * Lets the next basic.ack on one of these connections name a delivery that never was. The broker answers that by
   * closing the channel.
   */
  spoilNextAck(name: string): void {
    const connections = this.#named(name);
    for (const connection of connections) {
      connection.onAck = (deliveryTag) => {
        deliveryTag.writeUInt32BE(1); // The upper half of its 64 bits.
        for (const each of connections) each.onAck = () => {};
      };
    }
  }

  /**
   * Lets the next basic.publish with this routing key name an exchange that never was. The broker answers that by
   * closing the channel.
   */
  spoilNextPublish(routingKey: string): void {
    for (const connection of this.#connections) {
      connection.exchangeOf = (publish) => {
        if (publish.routingKey !== routingKey) return publish.exchange;
        for (const each of this.#connections) each.exchangeOf = named;
        return 'no-such-exchange';
      };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection.end();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #join(client: Socket): void {
    const broker = openSocket(Number(this.#broker.port), this.#broker.hostname);
    const connection = new TappedConnection(client, broker, this.opening, (publish) =>
      this.published.push(publish),
    );
    this.#connections.add(connection);
    client.on('close', () => this.#connections.delete(connection));
  }

  #named(name: string): TappedConnection[] {
    return [...this.#connections].filter(({ greeting }) => greeting.includes(name));
  }
}

class TappedConnection {
  /** The first that the client sent, with the properties that name the connection. */
  greeting: Buffer = Buffer.alloc(0);
  /** Gets the delivery tag of each basic.ack; what it writes there is what the broker gets. */
  onAck: (deliveryTag: Buffer) => void = () => {};
  /** Says to which exchange a basic.publish goes. */
  exchangeOf: (publish: PublishMethod) => string = named;
  readonly #client: Socket;
  readonly #broker: Socket;
  readonly #toClient: NodeJS.WritableStream;

  constructor(client: Socket, broker: Socket, opening: Opening, onPublish: (publish: TappedPublish) => void) {
    this.#client = client;
    this.#broker = broker;
    this.#toClient = client;
    if (opening.answersLateMs !== undefined || opening.closedBehindOpenOk) {
      const answers = answersOf(opening);
      answers.pipe(client);
      this.#toClient = answers;
    }
    for (const socket of [client, broker]) {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => this.end());
    }
    const reader = new FrameReader(
      onPublish,
      (deliveryTag) => this.onAck(deliveryTag),
      (publish) => this.exchangeOf(publish),
    );
    client.on('data', (chunk) => {
      if (this.greeting.length < GREETING_BYTES) this.greeting = Buffer.concat([this.greeting, chunk]);
      broker.write(reader.push(chunk));
    });
    this.release();
  }

  hold(): void {
    this.#broker.unpipe();
  }

  release(): void {
    this.#broker.pipe(this.#toClient);
  }

  end(): void {
    this.#client.destroy();
    this.#broker.destroy();
  }
}

/** How the broker's side of an AMQP handshake is spoilt. */
export interface Opening {
  /** Each of its answers comes that much later. */
  readonly answersLateMs?: number;
  /** Its last answer, connection.open-ok, is followed in the same segment by the close of an orderly shutdown (320). */
  readonly closedBehindOpenOk?: boolean;
}

function answersOf({ answersLateMs = 0, closedBehindOpenOk }: Opening): Transform {
  let isOpen = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (isOpen) {
        done(null, chunk);
        return;
      }
      isOpen = chunk[0] === METHOD && chunk.readUInt32BE(7) === CONNECTION_OPEN_OK;
      const answer = closedBehindOpenOk && isOpen ? Buffer.concat([chunk, FORCED_CLOSE]) : chunk;
      setTimeout(() => done(null, answer), answersLateMs);
    },
  });
}

type PublishMethod = Pick<TappedPublish, 'exchange' | 'routingKey' | 'mandatory'>;

const named = ({ exchange }: PublishMethod) => exchange;

const GREETING_BYTES = 1_024;
const PROTOCOL_HEADER_BYTES = 8;
const FRAME_OVERHEAD_BYTES = 8;
const METHOD = 1;
const HEADER = 2;
const BASIC_PUBLISH = (60 << 16) | 40;
const BASIC_ACK = (60 << 16) | 80;
const CONNECTION_OPEN_OK = (10 << 16) | 41;
/** connection.close on channel 0: reply code 320, reply text `x`, class and method 0. */
const FORCED_CLOSE = Buffer.from(
  '01 0000 0000000c 000a0032 0140 0178 0000 0000 ce'.replaceAll(' ', ''),
  'hex',
);

/** Cuts what a client sends on an AMQP 0-9-1 connection into frames (section 4.2.3), and joins the two of a publish. */
class FrameReader {
  readonly #onPublish: (publish: TappedPublish) => void;
  readonly #onAck: (deliveryTag: Buffer) => void;
  readonly #exchangeOf: (publish: PublishMethod) => string;
  readonly #begun = new Map<number, PublishMethod>();
  #unread: Buffer = Buffer.alloc(0);
  #greeted = false;

  constructor(
    onPublish: (publish: TappedPublish) => void,
    onAck: (deliveryTag: Buffer) => void,
    exchangeOf: (publish: PublishMethod) => string,
  ) {
    this.#onPublish = onPublish;
    this.#onAck = onAck;
    this.#exchangeOf = exchangeOf;
  }

  /** Returns the bytes to hand on: all frames that are whole. */
  push(chunk: Buffer): Buffer {
    const bytes = Buffer.concat([this.#unread, chunk]);
    const handedOn: Buffer[] = [];
    let at = 0;
    if (!this.#greeted && bytes.length >= PROTOCOL_HEADER_BYTES) {
      at = PROTOCOL_HEADER_BYTES;
      handedOn.push(bytes.subarray(0, at));
      this.#greeted = true;
    }
    while (this.#greeted && bytes.length - at >= FRAME_OVERHEAD_BYTES) {
      const end = at + bytes.readUInt32BE(at + 3) + FRAME_OVERHEAD_BYTES;
      if (bytes.length < end) break;
      handedOn.push(this.#frame(bytes.subarray(at, end)));
      at = end;
    }
    this.#unread = bytes.subarray(at);
    return Buffer.concat(handedOn);
  }

  /** Returns what is to be handed on in its place. */
  #frame(frame: Buffer): Buffer {
    const [type, channel, payload] = [frame[0], frame.readUInt16BE(1), frame.subarray(7, -1)];
    if (type === METHOD && payload.readUInt32BE(0) === BASIC_PUBLISH) {
      const fields = new Fields(payload.subarray(6));
      const [exchange, routingKey] = [fields.shortString(), fields.shortString()];
      const publish = { exchange, routingKey, mandatory: (fields.octet() & 1) === 1 };
      this.#begun.set(channel, publish);
      return withExchange(frame, this.#exchangeOf(publish));
    }
    if (type === METHOD && payload.readUInt32BE(0) === BASIC_ACK) {
      this.#onAck(payload.subarray(4, 12));
    } else if (type === HEADER) {
      const fields = new Fields(payload.subarray(12));
      this.#onPublish({ ...this.#begun.get(channel)!, ...readProperties(fields) });
      this.#begun.delete(channel);
    }
    return frame;
  }
}

/** A basic.publish as it is, but for the name of its exchange. */
function withExchange(frame: Buffer, exchange: string): Buffer {
  const [header, method, behind] = [frame.subarray(0, 7), frame.subarray(7, 13), 14 + frame[13]!];
  const name = Buffer.from(exchange);
  const changed = Buffer.concat([header, method, Buffer.from([name.length]), name, frame.subarray(behind)]);
  changed.writeUInt32BE(changed.length - FRAME_OVERHEAD_BYTES, 3);
  return changed;
}

/** The properties in the order of their flags, highest bit first. */
function readProperties(fields: Fields) {
  const flags = fields.short();
  const has = (bit: number) => (flags & (1 << bit)) !== 0;
  const text = (bit: number) => (has(bit) ? fields.shortString() : undefined);
  const octet = (bit: number) => (has(bit) ? fields.octet() : undefined);
  text(15); // content type
  text(14); // content encoding
  const headers = has(13) ? fields.table() : {};
  const deliveryMode = octet(12);
  octet(11); // priority
  text(10); // correlation id
  const replyTo = text(9);
  text(8); // expiration
  text(7); // message id
  const timestamp = has(6) ? fields.long() : undefined;
  return { headers, deliveryMode, replyTo, timestamp };
}

/** Reads the basic types of AMQP, one after another. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  octet(): number {
    return this.#take(1)[0]!;
  }

  short(): number {
    return this.#take(2).readUInt16BE();
  }

  long(): bigint {
    return this.#take(8).readBigInt64BE();
  }

  shortString(): string {
    return String(this.#take(this.octet()));
  }

  longString(): Buffer {
    return this.#take(this.#take(4).readUInt32BE());
  }

  table(): Record<string, TappedHeader> {
    const inner = new Fields(this.longString());
    const table: Record<string, TappedHeader> = {};
    while (inner.#at < inner.#bytes.length) {
      const name = inner.shortString();
      const type = String.fromCharCode(inner.octet());
      table[name] = { type, value: inner.#value(type) };
    }
    return table;
  }

  #value(type: string): TappedHeader['value'] {
    switch (type) {
      case 'S':
        return String(this.longString());
      case 't':
        return this.octet() !== 0;
      case 'b':
        return BigInt(this.#take(1).readInt8());
      case 's':
        return BigInt(this.#take(2).readInt16BE());
      case 'I':
        return BigInt(this.#take(4).readInt32BE());
      case 'l':
        return this.long();
      default:
        throw new Error(`a header of type ${type}`);
    }
  }

  #take(length: number): Buffer {
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }
}
