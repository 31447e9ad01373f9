import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { inject } from 'vitest';
import { shardQueues } from '../../src/broker/shard.ts';
import { Ledger, type LedgerReport, SessionAudit } from '../../src/dev/ledger.ts';
import { ownerOf } from '../../src/registry/connection-id.ts';
import { connectFleet, Device } from './device.ts';
import { eventually } from './eventually.ts';
import type { GatewayProcess } from './gateway-process.ts';
import { LedgerBackend, type ReplyRoute, type StrayUndelivered } from './ledger-backend.ts';

export interface TrafficOptions {
  /** Default: 200. */
  devices?: number;
  /** Each device sends a line this often. Default: 500 ms. */
  lineEveryMs?: number;
  lineBytes?: number;
  /** Where the backend finds the broker, one or more. Default: the broker of the test run. */
  amqpUrls?: string[];
  /** `amqp.shards` of the gateway. Default: 1. */
  shards?: number;
  /** Default: `inbox`. */
  replies?: ReplyRoute;
  /** A device whose connection is dropped comes back. Default: true. */
  reconnect?: boolean;
  /** Takes what is undelivered and was not published by the backend of this traffic. */
  strayUndelivered?: StrayUndelivered;
}

export interface TrafficGuest extends Disposable {
  readonly connectionId: string;
  /** How many lines have come that are no replies. */
  strays(): number;
  close(): Promise<void>;
}

const TICK_MS = 20;
const FLOOD_PAUSE_MS = 2;
/** In one write. */
const FLOOD_LINES = 8;

/**
 * A fleet whose devices send lines, a backend that answers each, and a ledger of it all: what goes on while a test
 * makes something fail.
 */
export class Traffic {
  readonly ledger = new Ledger();
  readonly devices: TrafficDevice[];
  readonly backend: LedgerBackend;
  readonly #gateway: GatewayProcess;
  readonly #guests: SessionAudit[] = [];
  readonly #timer: NodeJS.Timeout;
  #lineEveryMs: number;

  /** Resolves once every device has had its first reply. */
  static async start(gateway: GatewayProcess, options: TrafficOptions = {}): Promise<Traffic> {
    const { host } = gateway;
    const sockets = await connectFleet(gateway.port, options.devices ?? 200, { host });
    const devices = sockets.map((socket, n) => new TrafficDevice(`d${n}`, gateway, socket, options));
    const traffic = new Traffic(gateway, devices, options);
    await eventually('every device gets replies', () => devices.every(({ current }) => current.received > 0));
    return traffic;
  }

  private constructor(gateway: GatewayProcess, devices: TrafficDevice[], options: TrafficOptions) {
    this.#gateway = gateway;
    this.devices = devices;
    const { amqpUrls = [inject('amqpUrl')], replies = 'inbox', shards = 1, strayUndelivered } = options;
    this.#lineEveryMs = options.lineEveryMs ?? 500;
    const { names } = gateway;
    const queues = shardQueues(names.fromDevice, shards);
    this.backend = new LedgerBackend(this.ledger, names, queues, amqpUrls, replies, strayUndelivered);
    let due = 0;
    let next = 0;
    this.#timer = setInterval(() => {
      for (due += (devices.length * TICK_MS) / this.#lineEveryMs; due >= 1; due--)
        devices[next++ % devices.length]!.send();
    }, TICK_MS);
  }

  /** From now on, each device sends a line this often. */
  pace(lineEveryMs: number): void {
    this.#lineEveryMs = lineEveryMs;
  }

  /** All connections that devices have had, and those of guests. */
  get sessions(): SessionAudit[] {
    return [...this.devices.flatMap((device) => device.sessions), ...this.#guests];
  }

  /** The audit of a connection that a test keeps by itself. */
  guest(session: string): SessionAudit {
    const audit = new SessionAudit(session);
    this.#guests.push(audit);
    return audit;
  }

  /** A device that a test keeps by itself, once it has had its first reply. Lines that begin with `stray` are counted. */
  async connectGuest(session: string, stray: string): Promise<TrafficGuest> {
    const audit = this.guest(session);
    const device = await Device.connect(this.#gateway.port);
    let strays = 0;
    device.onLine = (line) => {
      if (line.toString('latin1', 0, stray.length) === stray) strays++;
      else audit.reply(line);
    };
    await device.send(audit.nextLine());
    await eventually(`the first reply of ${session}`, () => audit.received === 1);
    const connectionId = this.ledger.connectionIdOf(session)!;
    return {
      connectionId,
      strays: () => strays,
      close: () => device.close(),
      [Symbol.dispose]: () => device[Symbol.dispose](),
    };
  }

  get sent(): number {
    return this.sessions.reduce((sum, { sent }) => sum + sent, 0);
  }

  get received(): number {
    return this.sessions.reduce((sum, { received }) => sum + received, 0);
  }

  /** Connections of the fleet that ended although their device had not closed them. */
  get drops(): number {
    return this.devices.flatMap((device) => device.sessions).filter(({ dropped }) => dropped).length;
  }

  /** Latencies of the replies that came since the last call, in milliseconds and ascending. */
  takeLatencies(devices: readonly TrafficDevice[] = this.devices): number[] {
    return devices.flatMap(({ latenciesMs }) => latenciesMs.splice(0)).sort((a, b) => a - b);
  }

  /** Devices by the node that holds them; those only whose lines have come. */
  devicesByNode(): Map<string, TrafficDevice[]> {
    const byNode = new Map<string, TrafficDevice[]>();
    for (const device of this.devices) {
      const node = ownerOf(this.ledger.connectionIdOf(device.current.session) ?? '');
      if (node !== undefined) byNode.set(node, [...(byNode.get(node) ?? []), device]);
    }
    return byNode;
  }

  /** Waits until so many more lines were taken by the backend and so many more replies received. */
  async flows(count = 500): Promise<void> {
    const [taken, received] = [this.ledger.taken, this.received];
    await eventually(
      `${count} more lines and replies`,
      () => this.ledger.taken >= taken + count && this.received >= received + count,
      60_000,
    );
  }

  /**
   * Sends no more, and waits until the backend has all lines and the devices all replies of living sessions; with
   * losses, until each device has the reply to its last line.
   */
  async settle({ withLosses = false } = {}): Promise<LedgerReport> {
    clearInterval(this.#timer);
    for (const device of this.devices) device.stop();
    const living = () => this.sessions.filter(({ dropped }) => !dropped);
    // What is answered was taken.
    const allIsIn = () =>
      living().every(({ session, sent }) => this.ledger.publishedTo(session) === sent) &&
      this.ledger.openReplies(living()) === 0;
    const lastIsIn = () => living().every(({ sent, nextReply }) => nextReply === sent);
    await eventually('all lines and replies have arrived', withLosses ? lastIsIn : allIsIn, 60_000).catch(
      () => {},
    ); // The report says what is missing.
    return this.ledger.report(this.sessions);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    for (const device of this.devices) device[Symbol.dispose]();
    await this.backend.stop();
  }
}

/** A device that keeps a connection, and an audit of each that it has had. */
export class TrafficDevice {
  readonly sessions: SessionAudit[] = [];
  /** Milliseconds between a line and its reply, of the latest replies. */
  readonly latenciesMs: number[] = [];
  readonly #name: string;
  readonly #gateway: GatewayProcess;
  readonly #options: TrafficOptions;
  #device: Device;
  #sentAtMs: number[] = [];
  #stopped = false;
  #disposed = false;

  constructor(name: string, gateway: GatewayProcess, device: Device, options: TrafficOptions) {
    this.#name = name;
    this.#gateway = gateway;
    this.#options = options;
    this.#device = device;
    this.#adopt(device);
  }

  get current(): SessionAudit {
    return this.sessions.at(-1)!;
  }

  get socket(): Device['socket'] {
    return this.#device.socket;
  }

  /** Sends its next lines in one write, unless it has to wait: for a connection, or because the gateway reads no more. */
  send(lines = 1): void {
    const { socket } = this.#device;
    if (this.#stopped || this.current.dropped || !socket.writable || socket.writableNeedDrain) return;
    this.#write(lines, this.#options.lineBytes);
  }

  #write(lines: number, lineBytes: number | undefined): void {
    let text = '';
    for (let i = 0; i < lines; i++) {
      this.#sentAtMs.push(performance.now());
      text += `${this.current.nextLine(lineBytes)}\n`;
    }
    this.socket.write(text);
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Sends as many lines as the gateway reads, until `stop`. @param ahead so many at most that are not answered */
  async flood(lineBytes: number, ahead = Number.POSITIVE_INFINITY): Promise<void> {
    const { socket } = this.#device;
    while (!this.#stopped && socket.writable) {
      const { sent, received } = this.current;
      const mustWait = socket.writableNeedDrain || sent - received >= ahead;
      if (!mustWait) this.#write(FLOOD_LINES, lineBytes);
      // Not all of a turn's time: replies have to be read too.
      await (mustWait ? delay(FLOOD_PAUSE_MS) : turn());
    }
  }

  /** Sends and reads nothing more, but stays connected. */
  stall(): void {
    this.#stopped = true;
    this.socket.pause();
  }

  /** Closes the connection of a device that does not read: what was on the way to it is nobody's promise. */
  abandon(): void {
    this.current.dropped = true;
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#disposed = true;
    this.#device[Symbol.dispose]();
  }

  #adopt(device: Device): void {
    this.#device = device;
    this.#sentAtMs = [];
    const audit = new SessionAudit(`${this.#name}.${this.sessions.length}`);
    this.sessions.push(audit);
    device.onLine = (line) => {
      const n = audit.reply(line);
      if (n >= 0) this.latenciesMs.push(performance.now() - this.#sentAtMs[n]!);
    };
    void device.closed.then(() => {
      if (this.#disposed) return;
      audit.dropped = true;
      if (this.#options.reconnect !== false) void this.#comeBack();
    });
  }

  async #comeBack(): Promise<void> {
    while (!this.#stopped) {
      await new Promise((resolve) => setTimeout(resolve, 100 + 400 * Math.random()));
      try {
        const { host, port } = this.#gateway;
        const device = await Device.connect(port, { host });
        if (this.#stopped) device[Symbol.dispose]();
        else this.#adopt(device);
        return;
      } catch {
        // Not yet: a worker may be starting.
      }
    }
  }
}
