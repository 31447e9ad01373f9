import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { canInstallPackages, installPackages } from './apt.ts';
import { findOnPath } from './find-on-path.ts';

/** How RabbitMQ can be run on this machine: its own scripts in `folder`, or a container. */
export type RabbitmqInstallation = { kind: 'native'; folder: string } | { kind: 'docker' };

/** The scripts as they are; on PATH Debian has wrappers that change to another user with 1,024 descriptors. */
const SCRIPT_FOLDER = '/usr/lib/rabbitmq/bin';

const ADVICE =
  'RabbitMQ is needed and could not be installed here: install rabbitmq-server (Debian, Ubuntu: ' +
  '`sudo apt-get install rabbitmq-server`; macOS: `brew install rabbitmq`), or start a Docker engine, ' +
  'or set OWSLA_AMQP_URL to a broker you have.';

/**
 * Finds RabbitMQ, and installs it where that is possible: Debian's package first, else a Docker engine.
 * @param say gets one line for each thing it does
 * @throws Error with one line that says what to install
 */
export async function ensureRabbitmq(say: (line: string) => void = () => {}): Promise<RabbitmqInstallation> {
  const found = findRabbitmq();
  if (found !== undefined) return found;
  if (await canInstallPackages()) {
    try {
      await installPackages(['rabbitmq-server'], say);
      const installed = findRabbitmq();
      if (installed !== undefined) return installed;
    } catch (error) {
      say(`RabbitMQ could not be installed: ${(error as Error).message}`);
    }
  }
  if (await hasDockerEngine()) {
    say('RabbitMQ is not installed; running it in a container.');
    return { kind: 'docker' };
  }
  throw new Error(ADVICE);
}

/** RabbitMQ's own scripts, where they are installed. */
export function findRabbitmq(): RabbitmqInstallation | undefined {
  if (existsSync(`${SCRIPT_FOLDER}/rabbitmq-server`)) return { kind: 'native', folder: SCRIPT_FOLDER };
  const onPath = findOnPath('rabbitmq-server');
  return onPath === undefined ? undefined : { kind: 'native', folder: dirname(onPath) };
}

async function hasDockerEngine(): Promise<boolean> {
  const docker = findOnPath('docker');
  if (docker === undefined) return false;
  return promisify(execFile)(docker, ['info', '--format', '{{.ServerVersion}}'], { timeout: 10_000 }).then(
    ({ stdout }) => stdout.trim() !== '',
    () => false,
  );
}
