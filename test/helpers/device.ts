import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { inject } from 'vitest';
import { within } from './eventually.ts';

/** A device that speaks lines over TLS and remembers every line it gets. */
export class Device {
  readonly socket: TLSSocket;
  readonly lines: Buffer[] = [];
  /** Settles when the socket is closed. */
  readonly closed: Promise<void>;
  /** Takes each line. Default: keeps it in `lines`. */
  onLine: (line: Buffer) => void = (line) => this.lines.push(line);
  #rest: Buffer = Buffer.alloc(0);
  #watchers: (() => void)[] = [];

  static async connect(port: number, options: ConnectionOptions = {}): Promise<Device> {
    const ca = readFileSync(join(inject('certificatesDir'), 'ca.pem'));
    const socket = connect({ host: '127.0.0.1', servername: 'localhost', port, ca, ...options });
    const device = new Device(socket);
    const secured = new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed before the handshake was complete')));
    });
    await within('TLS handshake', secured);
    return device;
  }

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('error', () => {}); // Its close is what tests wait for.
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => resolve());
    });
  }

  /** Sends one line; resolves when the socket has room for more. */
  async send(line: string | Buffer): Promise<void> {
    await this.write(Buffer.concat([Buffer.from(line), Buffer.from('\n')]));
  }

  /** Sends bytes as they are; resolves when the socket has room for more, or is closed. */
  async write(bytes: Buffer | string): Promise<void> {
    if (this.socket.write(bytes)) return;
    const drained = new Promise<void>((resolve) => {
      this.socket.once('drain', () => resolve());
    });
    await Promise.race([drained, this.closed]);
  }

  /** Waits until `count` lines have come in all and returns them as text. */
  async received(count: number, timeoutMs = 30_000): Promise<string[]> {
    const enough = async () => {
      while (this.lines.length < count) await new Promise<void>((resolve) => this.#watchers.push(resolve));
    };
    try {
      await within(`${count} lines`, enough(), timeoutMs);
    } catch (error) {
      throw new Error(`${String(error)}; got ${this.lines.length}: ${this.text.slice(-5).join(' | ')}`);
    }
    return this.text;
  }

  get text(): string[] {
    return this.lines.map(String);
  }

  /** An orderly close; resolves when the socket is closed. */
  async close(): Promise<void> {
    this.socket.end();
    await within('close', this.closed);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #received(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a)) {
      this.onLine(bytes.subarray(0, end));
      bytes = bytes.subarray(end + 1);
    }
    this.#rest = bytes;
    for (const wake of this.#watchers.splice(0)) wake();
  }
}

/** Connects many devices, some at a time. */
export async function connectFleet(
  port: number,
  count: number,
  options: ConnectionOptions = {},
): Promise<Device[]> {
  const devices: Device[] = [];
  while (devices.length < count) {
    const batch = Math.min(25, count - devices.length);
    devices.push(...(await Promise.all(Array.from({ length: batch }, () => Device.connect(port, options)))));
  }
  return devices;
}
