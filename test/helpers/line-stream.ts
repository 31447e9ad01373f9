import { setTimeout as delay } from 'node:timers/promises';
import type { Device } from './device.ts';

export interface LineStreamOptions {
  /** Pause between two lines. Default: none, it sends as fast as the socket takes them. */
  paceMs?: number;
  /** Lines are filled up to this length. Default: not at all. */
  lineBytes?: number;
}

/** A device that sends numbered lines, `<name> 0`, `<name> 1`, …, until it is stopped or its connection ends. */
export class LineStream {
  readonly device: Device;
  /** The device's TCP port, by which events name it. */
  readonly port: number;
  /** Lines given to the socket. */
  sent = 0;
  readonly #name: string;
  readonly #options: LineStreamOptions;
  readonly #done: Promise<void>;
  #stopped = false;

  constructor(device: Device, name: string, options: LineStreamOptions = {}) {
    this.device = device;
    this.port = device.socket.localPort!;
    this.#name = name;
    this.#options = options;
    this.#done = this.#run();
  }

  line(n: number): string {
    return `${this.#name} ${n}`.padEnd(this.#options.lineBytes ?? 0, '.');
  }

  /** Sends no more; resolves when the socket has taken the last line. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    const { paceMs } = this.#options;
    while (!this.#stopped && this.device.socket.writable) {
      await this.device.send(this.line(this.sent++));
      if (paceMs !== undefined) await delay(paceMs);
    }
  }
}
