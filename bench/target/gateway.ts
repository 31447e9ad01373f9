import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChildEnd, GuardedChild } from '../../src/dev/child.ts';
import { freePort } from '../../src/dev/free-port.ts';
import { becomesReady } from '../../src/dev/readiness.ts';
import { childrenOf, processTree } from '../accounting/process-usage.ts';
import { descriptorLimit, processesWithin } from '../peers/descriptors.ts';
import type { Launcher } from '../pinning.ts';
import { builtProgram, ROOT } from './build.ts';
import type { Target } from './target.ts';

export interface GatewayOptions {
  readonly amqpUrl: string;
  /** Paths (PEM). */
  readonly certificates: { readonly cert: string; readonly key: string };
  /** Path of the authority that devices' certificates are verified against; absent: they show none. */
  readonly clientCa: string | undefined;
  /** 0: as many as `connections` need. */
  readonly workers: number;
  /** Connections that are planned at most. */
  readonly connections: number;
  /** Further configuration: environment names and values, over everything else. */
  readonly settings: Readonly<Record<string, string>>;
  readonly launcher: Launcher;
  readonly say: (line: string) => void;
}

const READY_TIMEOUT_MS = 60_000;
const READY_QUESTION_MS = 200;
const STOP_GRACE_MS = 45_000;
const LOG_CHARACTERS = 2_000;
const STOP_LOG_LINES = 3;

/** Our gateway: the production build, as an operator starts it. */
export class GatewayTarget implements Target {
  readonly name = 'owsla';
  readonly version = versionOf();
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly adminUrl: string;
  readonly #options: GatewayOptions;
  readonly #program: string;
  readonly #adminPort: number;
  readonly #dir = mkdtempSync(join(tmpdir(), 'owsla-bench-'));
  #child: GuardedChild | undefined;

  /** Starts it and waits until it is ready. @throws Error with the end of its log when it does not become so */
  static async start(options: GatewayOptions): Promise<GatewayTarget> {
    const program = await builtProgram(options.say);
    const gateway = new GatewayTarget(options, program, await freePort(), await freePort());
    try {
      await gateway.start();
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
    return gateway;
  }

  private constructor(options: GatewayOptions, program: string, port: number, adminPort: number) {
    this.#options = options;
    this.#program = program;
    this.port = port;
    this.#adminPort = adminPort;
    this.adminUrl = `http://127.0.0.1:${adminPort}`;
  }

  /** Starts it again on the same ports, after `stop` or `kill`. */
  async start(): Promise<void> {
    const output = openSync(this.#logFile, 'a');
    const [command, ...args] = [...this.#options.launcher, process.execPath, this.#program, 'start'];
    this.#child = GuardedChild.spawn(command!, args, {
      cwd: ROOT,
      env: this.#environment(),
      stdout: output,
      stderr: output,
    });
    closeSync(output);
    const deadline = AbortSignal.timeout(READY_TIMEOUT_MS);
    const ended = new AbortController();
    void this.#child.ended.then(() => ended.abort());
    if (!(await becomesReady(`${this.adminUrl}/readyz`, AbortSignal.any([deadline, ended.signal])))) {
      const log = readFileSync(this.#logFile, 'utf8').slice(-LOG_CHARACTERS);
      throw new Error(`the gateway did not become ready; the end of its log:\n${log}`);
    }
  }

  async isReady(): Promise<boolean> {
    return await becomesReady(`${this.adminUrl}/readyz`, AbortSignal.timeout(READY_QUESTION_MS));
  }

  /** In good order, as an operator would. @returns what was not in order about its end */
  async stop(): Promise<string | undefined> {
    const end = await this.#child!.stop(STOP_GRACE_MS);
    return stopProblem(end, readFileSync(this.#logFile, 'utf8'));
  }

  /** To the supervisor. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.signal(signal);
  }

  /** At once, as a power cut would. */
  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  pids(): number[] {
    const pid = this.#child?.end === undefined ? this.#child?.pid : undefined;
    return pid === undefined || pid === 0 ? [] : processTree(pid);
  }

  /** Worker processes, oldest first. */
  workerPids(): number[] {
    const workers = new Set(childrenOf(this.#child?.pid ?? 0));
    return this.pids().filter((pid) => workers.has(pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get #logFile(): string {
    return join(this.#dir, 'gateway.log');
  }

  #environment(): NodeJS.ProcessEnv {
    const { amqpUrl, certificates, clientCa, workers, connections, settings } = this.#options;
    return {
      PATH: process.env.PATH,
      OWSLA_AMQP_URL: amqpUrl,
      OWSLA_TLS_CERT: certificates.cert,
      OWSLA_TLS_KEY: certificates.key,
      ...(clientCa === undefined ? {} : { OWSLA_TLS_CLIENT_AUTH: 'required', OWSLA_TLS_CLIENT_CA: clientCa }),
      OWSLA_LISTEN_HOST: this.host,
      OWSLA_LISTEN_PORT: String(this.port),
      OWSLA_ADMIN_PORT: String(this.#adminPort),
      OWSLA_WORKERS: String(workers || workersFor(connections)),
      OWSLA_LOG_LEVEL: 'warn',
      ...settings,
    };
  }
}

/** What was wrong with the end of a gateway that was asked to stop; nothing when it ended with code 0. Pure. */
export function stopProblem({ code, signal }: ChildEnd, log: string): string | undefined {
  if (code === 0) return undefined;
  const lastLines = log.trimEnd().split('\n').slice(-STOP_LOG_LINES).join(' | ');
  return `the gateway was asked to stop and ended with ${signal ?? `code ${code}`}; expected was code 0; the end of its log: ${lastLines || 'nothing'}`;
}

/** One a core, and more where one would run out of descriptors. */
export function workersFor(connections: number): number {
  return Math.max(availableParallelism(), processesWithin(descriptorLimit(), connections, 1));
}

function versionOf(): string {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version;
}
