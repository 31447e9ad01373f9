import { mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { BrokerHost, BrokerSettings } from './broker-host.ts';
import type { GuardedChild } from './child.ts';
import { DockerBrokerHost } from './docker-broker-host.ts';
import { Epmd } from './epmd.ts';
import { freePort, isPortFree } from './free-port.ts';
import { NativeBrokerHost } from './native-broker-host.ts';
import { ensureRabbitmq, type RabbitmqInstallation } from './rabbitmq-install.ts';

export interface PrivateBrokerOptions {
  /** Folder of its data, logs and configuration; kept. Default: a new one that `[Symbol.asyncDispose]` removes. */
  dir?: string;
  /** AMQP port on 127.0.0.1. Default: a free one, the same for the whole life of the object. */
  amqpPort?: number;
  /** Erlang node name; the data belongs to it. Default: `owsla@localhost`, which is safe beside other brokers. */
  nodeName?: string;
  /** Plugins to enable. Default: none. */
  plugins?: readonly string[];
  /** Lines of rabbitmq.conf, over the defaults below: `{ consumer_timeout: '60000' }`. */
  conf?: Readonly<Record<string, string>>;
  /** Scheduler threads of the Erlang machine. Default: 2. */
  schedulers?: number;
  /** A running broker whose cluster this one joins at its first start; needs a `nodeName` of its own. */
  cluster?: PrivateBroker;
  /** Deadline for a start, in milliseconds. Default: 60,000 (a container: 300,000, as it may pull the image). */
  startTimeoutMs?: number;
  /** Deadline for an orderly stop, in milliseconds; after it the broker is killed. Default: 30,000. */
  stopTimeoutMs?: number;
  /** Gets a line when RabbitMQ has to be installed. */
  say?: (line: string) => void;
}

const DEFAULT_CONF: Readonly<Record<string, string>> = {
  'disk_free_limit.absolute': '50MB',
  'vm_memory_high_watermark.relative': '0.4',
  'log.file.level': 'info',
};

/**
 * A RabbitMQ of our own, as a child: own data folder, own ports on the loopback address, own port mapper. It ends
 * with this process, however that ends.
 */
export class PrivateBroker {
  readonly dir: string;
  readonly amqpPort: number;
  readonly nodeName: string;
  /** `amqp://guest:guest@127.0.0.1:<port>` */
  readonly url: string;
  readonly #host: BrokerHost;
  readonly #temporary: boolean;
  readonly #startTimeoutMs: number;
  readonly #stopTimeoutMs: number;
  #child: GuardedChild | undefined;

  /**
   * Starts a broker, installing RabbitMQ first where it is missing; resolves when it takes AMQP connections.
   * @throws Error with what its log says when it does not within `startTimeoutMs`
   */
  static async start(options: PrivateBrokerOptions = {}): Promise<PrivateBroker> {
    const installation = await ensureRabbitmq(options.say);
    const { amqpPort } = options;
    if (amqpPort !== undefined && !(await isPortFree(amqpPort))) {
      throw new Error(`port ${amqpPort} of 127.0.0.1, wanted for a private RabbitMQ, is taken`);
    }
    const epmd = options.cluster?.epmd ?? (await Epmd.create());
    const broker = new PrivateBroker(installation, epmd, amqpPort ?? (await freePort()), options);
    try {
      await broker.start();
    } catch (error) {
      await broker.#removeTemporary();
      throw error;
    }
    return broker;
  }

  private constructor(
    installation: RabbitmqInstallation,
    epmd: Epmd,
    amqpPort: number,
    options: PrivateBrokerOptions,
  ) {
    this.#temporary = options.dir === undefined;
    this.dir =
      options.dir === undefined ? mkdtempSync(join(tmpdir(), 'owsla-broker-')) : resolve(options.dir);
    mkdirSync(this.dir, { recursive: true });
    this.amqpPort = amqpPort;
    this.nodeName = options.nodeName ?? 'owsla@localhost';
    this.url = `amqp://guest:guest@127.0.0.1:${amqpPort}`;
    this.#startTimeoutMs = options.startTimeoutMs ?? (installation.kind === 'docker' ? 300_000 : 60_000);
    this.#stopTimeoutMs = options.stopTimeoutMs ?? 30_000;
    const settings: BrokerSettings = {
      dir: this.dir,
      amqpPort,
      nodeName: this.nodeName,
      plugins: options.plugins ?? [],
      conf: { ...DEFAULT_CONF, ...clusterConf(this.nodeName, options.cluster), ...options.conf },
      schedulers: options.schedulers ?? 2,
    };
    this.#host =
      installation.kind === 'docker'
        ? new DockerBrokerHost(settings)
        : new NativeBrokerHost(installation.folder, settings, epmd, options.cluster?.dir);
  }

  /** Id of the Erlang machine's process (of the Docker client, in a container). @throws when it does not run */
  get pid(): number {
    if (this.#child === undefined) throw new Error('the private RabbitMQ is not running');
    return this.#host.pid(this.#child);
  }

  /** Its processes are the engine's then: nothing can be told of their CPU and memory. */
  get isInContainer(): boolean {
    return this.#host instanceof DockerBrokerHost;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.end === undefined;
  }

  /** Settles when the broker that runs now has ended, wanted or not. @throws when it does not run */
  get ended(): Promise<void> {
    if (this.#child === undefined) throw new Error('the private RabbitMQ is not running');
    return this.#child.ended.then(() => {});
  }

  /** The port mapper that a cluster shares; `undefined` in a container. */
  get epmd(): Epmd | undefined {
    return this.#host instanceof NativeBrokerHost ? this.#host.epmd : undefined;
  }

  /** Starts it again on the same data and port, after `stop` or `kill`. Errors as the static `start`. */
  async start(): Promise<void> {
    if (this.running) return;
    if (this.#child !== undefined) await this.#forget();
    const child = await this.#host.launch();
    this.#child = child;
    const deadline = performance.now() + this.#startTimeoutMs;
    while (!(await takesConnections(this.url))) {
      const failed = child.end !== undefined ? 'ended before it took connections' : undefined;
      if (failed !== undefined || performance.now() > deadline) {
        await this.kill();
        const what = failed ?? `took no connection within ${this.#startTimeoutMs} ms`;
        throw new Error(`the private RabbitMQ ${what}; its log says:\n${this.#host.explainFailure()}`);
      }
      await delay(PROBE_PAUSE_MS);
    }
  }

  /** Ends it in good order, and kills it when that takes longer than `stopTimeoutMs`. Its data stays. */
  async stop(): Promise<void> {
    await this.#child?.stop(this.#stopTimeoutMs);
    await this.#forget();
  }

  /** Ends it at once, as a power cut would. Its data stays. */
  async kill(): Promise<void> {
    await this.#child?.kill();
    await this.#forget();
  }

  /** An orderly stop and a start on the same data and port. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /**
   * Runs rabbitmqctl against it: `ctl('list_queues', 'name', 'messages')`. Takes half a second and more.
   * @returns what it printed
   * @throws when the broker does not run, or rabbitmqctl failed
   */
  async ctl(...args: string[]): Promise<string> {
    if (!this.running) throw new Error('the private RabbitMQ is not running');
    return this.#host.ctl(args);
  }

  /** Stops it; one with a folder of its own making is killed instead, and the folder removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#temporary) await this.kill();
    else await this.stop();
    await this.#removeTemporary();
  }

  async #forget(): Promise<void> {
    if (this.#child === undefined) return;
    this.#child = undefined;
    await this.#host.release();
  }

  async #removeTemporary(): Promise<void> {
    if (!this.#temporary) return;
    await this.#host.discard();
    // A process that was killed may still finish a write; unlike rmSync this looks again for what is there.
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

const PROBE_PAUSE_MS = 50;
const PROBE_TIMEOUT_MS = 5_000;

async function takesConnections(url: string): Promise<boolean> {
  try {
    const connection = await connect(url, { timeout: PROBE_TIMEOUT_MS });
    connection.on('error', () => {}); // The broker answered; what becomes of this connection says nothing.
    await connection.close();
    return true;
  } catch {
    return false;
  }
}

function clusterConf(nodeName: string, peer: PrivateBroker | undefined): Record<string, string> {
  if (peer === undefined) return {};
  if (peer.epmd === undefined) throw new Error('brokers in containers cannot be clustered');
  if (peer.nodeName === nodeName)
    throw new Error(`each node of a cluster needs a name of its own, not ${nodeName}`);
  return {
    'cluster_formation.peer_discovery_backend': 'classic_config',
    'cluster_formation.classic_config.nodes.1': peer.nodeName,
    'cluster_formation.classic_config.nodes.2': nodeName,
  };
}
