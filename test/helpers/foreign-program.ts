import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';
import { within } from './eventually.ts';

/** A program that is none of our code, run with pipes to its standard streams. */
export class ForeignProgram {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #chunks: Buffer[] = [];
  readonly #ended: Promise<unknown>;
  #hasEnded = false;
  #length = 0;
  #stderr = '';
  #watchers: (() => void)[] = [];

  constructor(command: string, args: readonly string[]) {
    this.#name = command;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin!.on('error', () => {}); // Its end is what tests wait for.
    this.#child.stdout!.on('data', (chunk: Buffer) => this.#received(chunk));
    this.#child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.#stderr += text;
    });
    this.#ended = once(this.#child, 'close').finally(() => {
      this.#hasEnded = true;
      this.#wake();
    });
    this.#ended.catch(() => {});
  }

  /** Writes to its standard input; resolves when the pipe has room for more. */
  async write(bytes: Buffer | string): Promise<void> {
    if (!this.#child.stdin!.write(bytes))
      await Promise.race([once(this.#child.stdin!, 'drain'), this.#ended]);
  }

  /** Closes its standard input. */
  end(): void {
    this.#child.stdin!.end();
  }

  /** All it has written on standard output. */
  get output(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** Waits until it has written that many bytes and returns all of them. @throws what it said when it ends before */
  async outputOf(bytes: number): Promise<Buffer> {
    const enough = async () => {
      while (this.#length < bytes) {
        if (this.#hasEnded) throw new Error(`${this.#name} ended: ${this.#stderr}`);
        await new Promise<void>((resolve) => this.#watchers.push(resolve));
      }
    };
    await within(`${bytes} bytes from ${this.#name}`, enough()).catch((error) => {
      throw new Error(`${error.message}; got ${this.#length}\n${this.#stderr}`);
    });
    return this.output;
  }

  /** Waits until it has ended, and returns its standard output. @throws when its exit code is not 0 */
  async finished(): Promise<Buffer> {
    await within(`the end of ${this.#name}`, this.#ended);
    if (this.#child.exitCode !== 0) throw new Error(`${this.#name} failed: ${this.#stderr}`);
    return this.output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended.catch(() => {}); // It could not be started; that has been told.
  }

  #received(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#watchers.splice(0)) wake();
  }
}

/** A device made of `openssl s_client`: what is written to it goes to the gateway as it is, and back. */
export function opensslDevice(port: number): ForeignProgram {
  return new ForeignProgram('openssl', [
    ...['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', join(inject('certificatesDir'), 'ca.pem')],
    ...['-servername', 'localhost', '-verify_hostname', 'localhost', '-verify_return_error', '-quiet'],
  ]);
}

/** A device made of Python's ssl module; likewise. */
export function pythonDevice(port: number): ForeignProgram {
  const ca = join(inject('certificatesDir'), 'ca.pem');
  return new ForeignProgram('python3', [join(import.meta.dirname, 'tls-device.py'), String(port), ca]);
}

/** A line as the backend of `pikaBackend` saw it. */
export interface PikaLine {
  /** In hex. */
  body: string;
  headers: Record<string, unknown>;
  /** Python's name of each header's type. */
  types: Record<string, string>;
  delivery_mode: number;
  reply_to: string;
  timestamp: number;
}

/** A backend in Python that sends every line back: to its `reply_to`, or to the queue `toDevice`. */
export async function pikaBackend(fromDevice: string, toDevice?: string): Promise<ForeignProgram> {
  const script = join(import.meta.dirname, 'pika-backend.py');
  const queues = toDevice === undefined ? [fromDevice] : [fromDevice, toDevice];
  return new ForeignProgram(await pythonWithPika(), [script, inject('amqpUrl'), ...queues]);
}

/** What a `pikaBackend` has said up to now. */
export function pikaLines(backend: ForeignProgram): PikaLine[] {
  const whole = String(backend.output).split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line));
}

/** Debian's package serves Debian's own interpreter only, which need not be the first on PATH. */
async function pythonWithPika(): Promise<string> {
  return await promisify(execFile)('/usr/bin/python3', ['-c', 'import pika']).then(
    () => '/usr/bin/python3',
    () => 'python3',
  );
}
