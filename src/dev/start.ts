import { once } from 'node:events';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../config/config-error.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { type CertificateFiles, writeCertificates } from './certificates.ts';
import { GuardedChild } from './child.ts';
import { lockFolder } from './folder-lock.ts';
import { claimPort, freePort } from './free-port.ts';
import { PrivateBroker } from './private-broker.ts';
import { ensureRabbitmq } from './rabbitmq-install.ts';
import { becomesReady } from './readiness.ts';
import { onStopRequest } from './stop-request.ts';

/**
 * What `npm start` runs: a private RabbitMQ, certificates, the gateway and an echo backend, for as long as nobody
 * asks it to stop. Whatever of it is configured already (`amqp.url`, `tls.cert` and `tls.key`) is used instead.
 *
 * Environment besides the gateway's own: DEV_STATE_DIR, the folder of data and certificates (default `.owsla` in
 * the repository), and DEV_ECHO=0, which leaves the echo backend out.
 */

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** The private broker's port as long as it is free, so that a backend's URL is the same the next day. */
const USUAL_AMQP_PORT = 25_673;
const GRACE_MS = 15_000;
const SLOW_START_MS = 30_000;

/**
 * Runs the set-up until SIGINT, SIGTERM or the end of the gateway.
 * @param args flags for the gateway
 * @returns the exit code: the gateway's, or 1 when something before it failed
 */
export async function start(args: readonly string[]): Promise<number> {
  process.stdout.on('error', () => {}); // The terminal is gone; SIGHUP says what to do.
  const stop = onStopRequest(say);
  const environment: NodeJS.ProcessEnv = { ...process.env };
  delete environment.DEV_STATE_DIR;
  delete environment.DEV_ECHO;
  const stateDir = resolve(ROOT, process.env.DEV_STATE_DIR ?? '.owsla');

  try {
    const loaded = loadConfig({ argv: ['start', ...args], env: environment });
    const unlock = lockFolder(stateDir);
    process.once('exit', unlock);
    return await new DevelopmentSetUp(loaded, args, environment, stateDir, stop).run();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return error instanceof ConfigError ? error.exitCode : 1;
  }
}

class DevelopmentSetUp {
  readonly #config: Config;
  readonly #sources: LoadedConfig['sources'];
  readonly #args: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #stateDir: string;
  readonly #stop: AbortSignal;
  /** Aborts when a stop is requested, or a part that the rest cannot do without has ended. */
  readonly #over = new AbortController();
  #broker: PrivateBroker | undefined;
  #certificates: CertificateFiles | undefined;
  #gateway: GuardedChild | undefined;
  #backend: GuardedChild | undefined;

  constructor(
    loaded: LoadedConfig,
    args: readonly string[],
    environment: NodeJS.ProcessEnv,
    stateDir: string,
    stop: AbortSignal,
  ) {
    this.#config = loaded.config;
    this.#sources = loaded.sources;
    this.#args = args;
    this.#environment = environment;
    this.#stateDir = stateDir;
    this.#stop = stop;
    stop.addEventListener('abort', () => this.#over.abort());
  }

  /** @returns the gateway's exit code; 0 when it was stopped before there was a gateway */
  async run(): Promise<number> {
    try {
      const steps = [this.#startBroker, this.#makeCertificates, this.#startGateway, this.#startBackend];
      for (const step of [...steps, this.#announce, this.#wait]) {
        if (this.#over.signal.aborted) break;
        await step.call(this);
      }
    } finally {
      await this.#stopAll();
    }
    return exitCodeOf(this.#gateway);
  }

  async #startBroker(): Promise<void> {
    if (this.#sources['amqp.url'] !== 'default') return;
    await ensureRabbitmq(say);
    const dir = join(this.#stateDir, 'broker');
    say(`Starting a private RabbitMQ (data in ${shown(dir)}) …`);
    const amqpPort = (await claimPort(USUAL_AMQP_PORT)) ? USUAL_AMQP_PORT : await freePort();
    this.#broker = await PrivateBroker.start({ dir, amqpPort }).catch((error) => {
      throw new Error(`${error.message}\nIf its data is broken, remove ${shown(dir)} and start again.`);
    });
    void this.#broker.ended.then(() => this.#end('RabbitMQ'));
  }

  async #makeCertificates(): Promise<void> {
    if (this.#sources['tls.cert'] !== 'default' || this.#sources['tls.key'] !== 'default') return;
    const dir = join(this.#stateDir, 'tls');
    this.#certificates = await writeCertificates(dir);
    say(`Development CA and server certificate: ${shown(dir)}`);
  }

  async #startGateway(): Promise<void> {
    say('Starting the gateway …');
    const environment = { ...this.#environment };
    if (this.#broker !== undefined) environment.OWSLA_AMQP_URL = this.#broker.url;
    if (this.#certificates !== undefined) {
      environment.OWSLA_TLS_CERT = this.#certificates.cert;
      environment.OWSLA_TLS_KEY = this.#certificates.key;
    }
    this.#gateway = runTypeScript('src/main.ts', ['start', ...this.#args], environment);
    void this.#gateway.ended.then(() => this.#end('The gateway'));
    const slow = setTimeout(() => say('The gateway is not ready yet; its log says why.'), SLOW_START_MS);
    await becomesReady(`${this.#adminUrl}/readyz`, this.#over.signal);
    clearTimeout(slow);
  }

  async #startBackend(): Promise<void> {
    if (process.env.DEV_ECHO === '0') return;
    say('Starting the echo backend …');
    const { amqp } = this.#config;
    const backend = runTypeScript('src/dev/echo-backend.ts', [], {
      ...this.#environment,
      OWSLA_AMQP_URL: this.#broker?.url ?? amqp.url.join(','),
      OWSLA_AMQP_FROM_DEVICE: amqp.fromDevice,
      OWSLA_AMQP_TO_DEVICE: amqp.toDevice,
      ...(amqp.ca === undefined ? {} : { NODE_EXTRA_CA_CERTS: amqp.ca }),
    });
    this.#backend = backend;
    void backend.ended.then(({ code, signal }) => {
      if (!this.#stop.aborted) say(`The echo backend ended (${signal ?? `code ${code}`}).`);
    });
  }

  async #announce(): Promise<void> {
    const { listen } = this.#config;
    const ca = this.#certificates === undefined ? '' : ` -CAfile ${shown(this.#certificates.ca)}`;
    const echoes =
      this.#backend === undefined
        ? 'Each line you type is a message in RabbitMQ.'
        : 'Type a line: it goes to RabbitMQ, the echo backend answers it, and it comes back.';
    say(`
Owsla is ready. Be a device, in another terminal:

  openssl s_client -connect ${local(listen.host)}:${listen.port}${ca} -quiet -servername localhost

${echoes}

  health    ${this.#adminUrl}/livez  ${this.#adminUrl}/readyz
  metrics   ${this.#adminUrl}/metrics
  RabbitMQ  ${this.#broker?.url ?? 'the one you configured'}

Ctrl-C stops everything.
`);
  }

  async #wait(): Promise<void> {
    if (!this.#over.signal.aborted) await once(this.#over.signal, 'abort');
  }

  /** A part has ended. */
  #end(part: string): void {
    if (!this.#over.signal.aborted) say(`${part} has ended; stopping the rest.`);
    this.#over.abort();
  }

  /** The gateway first: while it drains, it still needs the others. */
  async #stopAll(): Promise<void> {
    const { shutdown } = this.#config;
    if (this.#gateway !== undefined && this.#gateway.end === undefined) {
      say('Stopping the gateway …');
      await this.#gateway.stop(shutdown.notReadyMs + shutdown.timeoutMs + GRACE_MS);
    }
    await this.#backend?.stop(GRACE_MS);
    if (this.#broker !== undefined) {
      say('Stopping RabbitMQ …');
      await this.#broker.stop();
    }
  }

  get #adminUrl(): string {
    const { host, port } = this.#config.admin;
    return `http://${local(host)}:${port}`;
  }
}

function runTypeScript(file: string, args: readonly string[], env: NodeJS.ProcessEnv): GuardedChild {
  return GuardedChild.spawn(process.execPath, ['--import', 'tsx', file, ...args], { cwd: ROOT, env });
}

function exitCodeOf(child: GuardedChild | undefined): number {
  return child?.end === undefined ? 0 : (child.end.code ?? 1);
}

/** An address to connect to from this machine, for an address that something listens on. */
function local(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}

/** A path as one would type it here. */
function shown(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith('..') ? path : fromHere;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
