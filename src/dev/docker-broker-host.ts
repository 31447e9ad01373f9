import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
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

const IMAGE = 'rabbitmq:4-management';

/**
 * RabbitMQ in a container, for a machine with a Docker engine and no RabbitMQ. The data is in a volume that belongs
 * to the broker's folder; the AMQP port is published on the loopback address only.
 */
export class DockerBrokerHost implements BrokerHost {
  readonly #settings: BrokerSettings;
  readonly #volume: string;
  /** Of the last container; each has its own, as a name is taken until its container is removed. */
  #name = '';

  constructor(settings: BrokerSettings) {
    this.#settings = settings;
    this.#volume = `owsla-broker-${createHash('sha256').update(settings.dir).digest('hex').slice(0, 16)}`;
  }

  async launch(): Promise<GuardedChild> {
    const { dir, amqpPort, conf, plugins, schedulers } = this.#settings;
    mkdirSync(join(dir, 'log'), { recursive: true });
    writeFileSync(join(dir, 'rabbitmq.conf'), renderConf(conf));
    writeFileSync(join(dir, 'enabled_plugins'), renderPlugins(plugins));

    this.#name = `owsla-broker-${randomUUID()}`;
    const output = openSync(this.#outputFile, 'w');
    try {
      return GuardedChild.spawn(
        'docker',
        [
          ...['run', '--rm', '--name', this.#name],
          // The node's name, and with it the folder of its data, holds the host name.
          ...['--hostname', 'owsla'],
          ...['--publish', `127.0.0.1:${amqpPort}:5672`],
          ...['--volume', `${this.#volume}:/var/lib/rabbitmq`],
          ...['--volume', `${join(dir, 'rabbitmq.conf')}:/etc/rabbitmq/conf.d/90-owsla.conf:ro`],
          ...['--volume', `${join(dir, 'enabled_plugins')}:/etc/rabbitmq/enabled_plugins:ro`],
          ...['--env', `RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=${erlangArguments(schedulers)}`],
          IMAGE,
        ],
        {
          stdout: output,
          stderr: output,
          // The container is the engine's child, not the client's.
          cleanup: `docker rm --force ${this.#name}`,
        },
      );
    } finally {
      closeSync(output);
    }
  }

  /** The client's: the broker itself is in the container's own process namespace. */
  pid(child: GuardedChild): number {
    return child.pid;
  }

  async release(): Promise<void> {
    // Nothing besides the container, which `--rm` and the guard remove.
  }

  async discard(): Promise<void> {
    await promisify(execFile)('docker', ['volume', 'rm', '--force', this.#volume]);
  }

  async ctl(args: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(
      'docker',
      ['exec', this.#name, 'rabbitmqctl', '--quiet', ...args],
      { maxBuffer: 64 * 1024 * 1024 },
    );
    return stdout;
  }

  explainFailure(): string {
    return explainFailure(this.#outputFile);
  }

  get #outputFile(): string {
    return join(this.#settings.dir, 'log', 'console.log');
  }
}
