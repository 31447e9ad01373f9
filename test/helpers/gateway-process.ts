import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inject } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { ownerOf } from '../../src/registry/connection-id.ts';
import { within } from './eventually.ts';
import { type Names, namesEnvironment, uniqueNames } from './names.ts';

export interface GatewayProcessOptions {
  /** Default: the broker of the test run. */
  amqpUrl?: string;
  /** Give two instances the same names to let them share their queues. Default: new ones. */
  names?: Names;
  /** Default: 1. */
  workers?: number;
  /** Port for devices. Default: a free one. */
  port?: number;
  /** Address at which it is reached, for one in a network namespace; then it listens on all addresses. */
  host?: string;
  /** Further configuration, as environment variables; over everything else. `undefined`: the default of the program. */
  env?: Record<string, string | undefined>;
  /** Command that the gateway is run by, for example `['prlimit', '--nofile=256']`. */
  wrapper?: string[];
}

export type LogLine = Record<string, unknown> & { msg: string; level: number };

/** The gateway as an operator runs it: the real program, its log, its admin port, its signals. */
export class GatewayProcess {
  readonly names: Names;
  readonly host: string;
  readonly port: number;
  readonly adminUrl: string;
  readonly log: LogLine[] = [];
  /** What it wrote on stderr. */
  stderr = '';
  /** Settles when the process has ended. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  readonly #child: ChildProcess;
  readonly #watchers = new Set<(line: LogLine) => void>();

  /** Starts it and returns at once; `ready` waits. */
  static async spawn(options: GatewayProcessOptions = {}): Promise<GatewayProcess> {
    return new GatewayProcess(options, options.port ?? (await freePort()), await freePort());
  }

  /** Starts it and waits until it is ready. */
  static async start(options: GatewayProcessOptions = {}): Promise<GatewayProcess> {
    const gateway = await GatewayProcess.spawn(options);
    try {
      await gateway.ready();
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw new Error(`${String(error)}\n${JSON.stringify(gateway.log, null, 1)}\n${gateway.stderr}`);
    }
    return gateway;
  }

  private constructor(options: GatewayProcessOptions, port: number, adminPort: number) {
    this.names = options.names ?? uniqueNames();
    this.host = options.host ?? '127.0.0.1';
    this.port = port;
    this.adminUrl = `http://${this.host}:${adminPort}`;
    const listenHost = options.host === undefined ? '127.0.0.1' : '0.0.0.0';
    const certificates = inject('certificatesDir');
    const program = [
      process.execPath,
      '--import',
      'tsx',
      join(import.meta.dirname, '../../src/main.ts'),
      'start',
    ];
    const [command, ...args] = [...(options.wrapper ?? []), ...program];
    this.#child = spawn(command!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        OWSLA_AMQP_URL: options.amqpUrl ?? inject('amqpUrl'),
        OWSLA_TLS_CERT: join(certificates, 'server.pem'),
        OWSLA_TLS_KEY: join(certificates, 'server-key.pem'),
        OWSLA_LISTEN_HOST: listenHost,
        OWSLA_LISTEN_PORT: String(port),
        OWSLA_ADMIN_HOST: listenHost,
        OWSLA_ADMIN_PORT: String(adminPort),
        OWSLA_WORKERS: String(options.workers ?? 1),
        // Classic queues come up in a fraction of the time; the tests that are about quorum queues ask for them.
        OWSLA_AMQP_QUEUE_TYPE: 'classic',
        // Devices of tests send as much as they can.
        OWSLA_ENDPOINT_MAX_FRAMES_PER_SECOND: '0',
        OWSLA_ENDPOINT_MAX_BYTES_PER_SECOND: '0',
        ...namesEnvironment(this.names),
        ...options.env,
      },
    });
    this.exited = once(this.#child, 'close').then(([code, signal]) => ({ code, signal }));
    this.#child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    createInterface(this.#child.stdout!).on('line', (line) => this.#logged(JSON.parse(line)));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves with the next or an earlier line whose `msg` is this text, or that the function accepts. */
  async logged(wanted: string | ((line: LogLine) => boolean), timeoutMs = 30_000): Promise<LogLine> {
    const accepts = typeof wanted === 'string' ? (line: LogLine) => line.msg === wanted : wanted;
    const earlier = this.log.find(accepts);
    if (earlier !== undefined) return earlier;
    return await this.nextLogged(accepts, timeoutMs);
  }

  /** Resolves with the next line that the function accepts; earlier ones do not count. */
  nextLogged(accepts: (line: LogLine) => boolean, timeoutMs = 30_000): Promise<LogLine> {
    const seen = new Promise<LogLine>((resolve, reject) => {
      const watch = (line: LogLine) => {
        if (!accepts(line)) return;
        this.#watchers.delete(watch);
        resolve(line);
      };
      this.#watchers.add(watch);
      void this.exited.then(() => reject(new Error(`the gateway ended: ${this.stderr}`)));
    });
    return within(`log line ${accepts}`, seen, timeoutMs);
  }

  async ready(): Promise<void> {
    await this.logged('ready');
  }

  /** The answer of `/readyz`. */
  async readiness(): Promise<{
    ready: boolean;
    workers: { worker: number; pid: number; ready: boolean; reason: string }[];
  }> {
    return (await (await fetch(`${this.adminUrl}/readyz`)).json()) as never;
  }

  /** The queue that replies to a connection go to when they need no forwarding. */
  inboxOf(connectionId: string): string {
    return `${this.names.inboxPrefix}${ownerOf(connectionId)}`;
  }

  /** Process ids of the workers that run, by the id of their node. */
  async workers(): Promise<Map<string, number>> {
    const { workers } = await this.readiness();
    const nodes = new Map(
      this.log.filter((line) => line.node).map((line) => [line.pid, line.node as string]),
    );
    return new Map(workers.filter(({ pid }) => nodes.has(pid)).map(({ pid }) => [nodes.get(pid)!, pid]));
  }

  /** The sum of a metric's samples whose labels contain the given ones; 0 when there are none. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const text = await (await fetch(`${this.adminUrl}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match === null || match[1] !== name) continue;
      const found = match[2] ?? '';
      if (Object.entries(labels).every(([key, value]) => found.includes(`${key}="${value}"`)))
        sum += Number(match[3]);
    }
    return sum;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGTERM; resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return (await within('exit after SIGTERM', this.exited, 60_000)).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.signal('SIGTERM');
    // A second signal forces: a test that failed in between must not wait for a drain.
    this.signal('SIGINT');
    await within('exit after a second signal', this.exited, 20_000).catch(() => this.signal('SIGKILL'));
  }

  #logged(line: LogLine): void {
    this.log.push(line);
    for (const watch of [...this.#watchers]) watch(line);
  }
}
