import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  type BrokerHost,
  type BrokerSettings,
  erlangArguments,
  renderConf,
  renderPlugins,
} from './broker-host.ts';
import { explainFailure } from './broker-log.ts';
import { GuardedChild } from './child.ts';
import type { Epmd } from './epmd.ts';
import { freePort } from './free-port.ts';

const COOKIE_FILE = '.erlang.cookie';

/**
 * RabbitMQ's own scripts with everything they would look for in the system pointed at one folder, and every
 * listener (AMQP, Erlang distribution, port mapper) on the loopback address.
 */
export class NativeBrokerHost implements BrokerHost {
  readonly epmd: Epmd;
  readonly #scripts: string;
  readonly #settings: BrokerSettings;
  readonly #peerDir: string | undefined;

  /**
   * @param scripts folder of rabbitmq-server and rabbitmqctl
   * @param peerDir folder of a broker whose cluster this one joins: its cookie is used
   */
  constructor(scripts: string, settings: BrokerSettings, epmd: Epmd, peerDir?: string) {
    this.#scripts = scripts;
    this.#settings = settings;
    this.epmd = epmd;
    this.#peerDir = peerDir;
  }

  async launch(): Promise<GuardedChild> {
    const { dir, amqpPort, conf, plugins } = this.#settings;
    mkdirSync(join(dir, 'log'), { recursive: true });
    const listener = { 'listeners.tcp.1': `127.0.0.1:${amqpPort}` };
    writeFileSync(join(dir, 'rabbitmq.conf'), renderConf({ ...listener, ...conf }));
    writeFileSync(join(dir, 'enabled_plugins'), renderPlugins(plugins));
    rmSync(join(dir, 'pid'), { force: true });
    ensureCookie(dir, this.#peerDir);

    const environment = { ...this.#environment(), RABBITMQ_DIST_PORT: String(await freePort()) };
    const output = openSync(this.#outputFile, 'w');
    try {
      await this.epmd.acquire();
      return GuardedChild.spawn(join(this.#scripts, 'rabbitmq-server'), [], {
        env: environment,
        cwd: dir,
        stdout: output,
        stderr: output,
      });
    } finally {
      closeSync(output);
    }
  }

  pid(child: GuardedChild): number {
    const file = join(this.#settings.dir, 'pid');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : child.pid;
  }

  async release(): Promise<void> {
    await this.epmd.release();
  }

  async discard(): Promise<void> {
    // All of it is in the folder.
  }

  async ctl(args: readonly string[]): Promise<string> {
    const { dir, nodeName } = this.#settings;
    const { stdout } = await promisify(execFile)(
      join(this.#scripts, 'rabbitmqctl'),
      ['--quiet', '--node', nodeName, ...args],
      { env: this.#environment(), cwd: dir, maxBuffer: 64 * 1024 * 1024 },
    );
    return stdout;
  }

  explainFailure(): string {
    return explainFailure(this.#outputFile);
  }

  get #outputFile(): string {
    return join(this.#settings.dir, 'log', 'console.log');
  }

  /** Nothing of our own environment but PATH: neither a RABBITMQ_… nor an ERL_… set there may reach it. */
  #environment(): NodeJS.ProcessEnv {
    const { dir, nodeName, schedulers } = this.#settings;
    return {
      PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: dir,
      LANG: 'C.UTF-8',
      ERL_EPMD_PORT: String(this.epmd.port),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      // Read by every Erlang machine started here, the short-lived ones of the scripts included.
      ERL_ZFLAGS: '-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}',
      ERL_CRASH_DUMP_SECONDS: '0',
      RABBITMQ_NODENAME: nodeName,
      RABBITMQ_MNESIA_BASE: join(dir, 'data'),
      RABBITMQ_LOG_BASE: join(dir, 'log'),
      RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
      RABBITMQ_CONFIG_FILES: join(dir, 'conf.d'),
      RABBITMQ_ADVANCED_CONFIG_FILE: join(dir, 'advanced.config'),
      RABBITMQ_CONF_ENV_FILE: join(dir, 'rabbitmq-env.conf'),
      RABBITMQ_GENERATED_CONFIG_DIR: join(dir, 'generated'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
      RABBITMQ_PID_FILE: join(dir, 'pid'),
      RABBITMQ_SCHEDULER_BIND_TYPE: 'u',
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: erlangArguments(schedulers),
    };
  }
}

/** Erlang nodes and rabbitmqctl know each other by this secret, which they read from HOME. */
function ensureCookie(dir: string, peerDir: string | undefined): void {
  const file = join(dir, COOKIE_FILE);
  if (existsSync(file)) return;
  const cookie =
    peerDir === undefined
      ? randomBytes(20).toString('hex').toUpperCase()
      : readFileSync(join(peerDir, COOKIE_FILE), 'utf8');
  writeFileSync(file, cookie, { mode: 0o400 });
}
