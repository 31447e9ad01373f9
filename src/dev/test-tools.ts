import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { canInstallPackages, installPackages } from './apt.ts';
import { findChromium } from './chromium.ts';
import { findOnPath } from './find-on-path.ts';
import { findNginxStream } from './nginx-stream.ts';
import { ensureRabbitmq, findRabbitmq } from './rabbitmq-install.ts';

/**
 * A program the tests use, besides RabbitMQ: clients that are not ours, tools for odd connections, the peers that
 * the bench harness compares with, and a browser for its pages.
 */
interface Tool {
  /** Debian package. */
  name: string;
  isThere(): Promise<boolean>;
}

const onPath = (program: string) => async () => findOnPath(program) !== undefined;

const TOOLS: readonly Tool[] = [
  { name: 'openssl', isThere: onPath('openssl') },
  { name: 'iproute2', isThere: onPath('ip') },
  { name: 'socat', isThere: onPath('socat') },
  { name: 'amqp-tools', isThere: onPath('amqp-publish') },
  { name: 'python3-pika', isThere: hasPika },
  { name: 'nginx', isThere: onPath('nginx') },
  { name: 'libnginx-mod-stream', isThere: async () => (await findNginxStream()) !== undefined },
  { name: 'haproxy', isThere: onPath('haproxy') },
  { name: 'mosquitto', isThere: onPath('mosquitto') },
  { name: 'chromium', isThere: async () => findChromium() !== undefined },
];

/**
 * Finds RabbitMQ and the tools, and installs what is missing where that is possible.
 * @param say gets one line for each thing it does
 * @throws Error with one line that says what is missing
 */
export async function ensureTestTools(say: (line: string) => void): Promise<void> {
  let missing = await missingTools();
  const wanted = findRabbitmq() === undefined ? [...missing, 'rabbitmq-server'] : missing;
  if (wanted.length > 0 && (await canInstallPackages())) {
    try {
      await installPackages(wanted, say);
    } catch (error) {
      say(`Installing failed: ${(error as Error).message}`);
    }
    missing = await missingTools();
  }
  if (missing.length > 0) {
    throw new Error(
      `The tests need ${missing.join(', ')}: install it, or run only \`npm test -- --project unit\`.`,
    );
  }
  await ensureRabbitmq(say);
}

async function missingTools(): Promise<string[]> {
  const missing: string[] = [];
  for (const tool of TOOLS) if (!(await tool.isThere())) missing.push(tool.name);
  return missing;
}

/** Debian's package serves Debian's own interpreter only, which need not be the first on PATH. */
async function hasPika(): Promise<boolean> {
  for (const python of ['/usr/bin/python3', 'python3']) {
    const found = await promisify(execFile)(python, ['-c', 'import pika']).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}
