import { inject } from 'vitest';
import { Ledger, type LedgerReport, SessionAudit } from '../../src/dev/ledger.ts';
import { connectFleet, Device } from './device.ts';
import { eventually } from './eventually.ts';
import type { GatewayProcess } from './gateway-process.ts';
import { LedgerBackend, type ReplyRoute } from './ledger-backend.ts';

export interface TrafficOptions {
  /** Default: 200. */
  devices?: number;
  /** Each device sends a line this often. Default: 500 ms. */
  lineEveryMs?: number;
  lineBytes?: number;
  /** Where the backend finds the broker, one or more. Default: the broker of the test run. */
  amqpUrls?: string[];
  /** Default: `inbox`. */
  replies?: ReplyRoute;
  /** A device whose connection is dropped comes back. Default: true. */
  reconnect?: boolean;
}

const TICK_MS = 20;

/**
 * A fleet whose devices send lines, a backend that answers each, and a ledger of it all: what goes on while a test
 * makes something fail.
 */
export class Traffic {
  readonly ledger = new Ledger();
  readonly devices: TrafficDevice[];
  readonly backend: LedgerBackend;
  readonly #timer: NodeJS.Timeout;
  #lineEveryMs: number;

  /** Resolves once every device has had its first reply. */
  static async start(gateway: GatewayProcess, options: TrafficOptions = {}): Promise<Traffic> {
    const sockets = await connectFleet(gateway.port, options.devices ?? 200);
    const devices = sockets.map((socket, n) => new TrafficDevice(`d${n}`, gateway.port, socket, options));
    const traffic = new Traffic(gateway, devices, options);
    await eventually('every device gets replies', () => devices.every(({ current }) => current.received > 0));
    return traffic;
  }

  private constructor(gateway: GatewayProcess, devices: TrafficDevice[], options: TrafficOptions) {
    this.devices = devices;
    const { amqpUrls = [inject('amqpUrl')], replies = 'inbox' } = options;
    this.#lineEveryMs = options.lineEveryMs ?? 500;
    this.backend = new LedgerBackend(this.ledger, gateway.names, amqpUrls, replies);
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

  /** All connections that devices have had. */
  get sessions(): SessionAudit[] {
    return this.devices.flatMap((device) => device.sessions);
  }

  get sent(): number {
    return this.sessions.reduce((sum, { sent }) => sum + sent, 0);
  }

  get received(): number {
    return this.sessions.reduce((sum, { received }) => sum + received, 0);
  }

  /** Connections that ended although their device had not closed them. */
  get drops(): number {
    return this.sessions.filter(({ dropped }) => dropped).length;
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
    const allIsIn = () =>
      living().every(({ session, sent }) => this.ledger.takenOf(session) === sent) &&
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
class TrafficDevice {
  readonly sessions: SessionAudit[] = [];
  /** Milliseconds between a line and its reply, of the latest replies. */
  readonly latenciesMs: number[] = [];
  readonly #name: string;
  readonly #port: number;
  readonly #options: TrafficOptions;
  #device: Device;
  #sentAtMs: number[] = [];
  #stopped = false;
  #disposed = false;

  constructor(name: string, port: number, device: Device, options: TrafficOptions) {
    this.#name = name;
    this.#port = port;
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
    let text = '';
    for (let i = 0; i < lines; i++) {
      this.#sentAtMs.push(performance.now());
      text += `${this.current.nextLine(this.#options.lineBytes)}\n`;
    }
    socket.write(text);
  }

  stop(): void {
    this.#stopped = true;
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
        const device = await Device.connect(this.#port);
        if (this.#stopped) device[Symbol.dispose]();
        else this.#adopt(device);
        return;
      } catch {
        // Not yet: a worker may be starting.
      }
    }
  }
}
