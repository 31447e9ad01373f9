import { existsSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GuardedChild } from './child.ts';
import { findOnPath } from './find-on-path.ts';
import { freePort } from './free-port.ts';

/**
 * Erlang's port mapper, as our own child on a port of our own. Left to itself, the first Erlang node of a machine
 * starts a daemon that stays behind for good. The nodes of one private cluster share one; it runs while at least
 * one of them does.
 */
export class Epmd {
  readonly port: number;
  #users = 0;
  #running: Promise<GuardedChild> | undefined;

  static async create(): Promise<Epmd> {
    return new Epmd(await freePort());
  }

  private constructor(port: number) {
    this.port = port;
  }

  /** To be called before a node starts; resolves when the port mapper answers. */
  async acquire(): Promise<void> {
    this.#users++;
    this.#running ??= launch(this.port);
    try {
      await this.#running;
    } catch (error) {
      this.#users--;
      this.#running = undefined;
      throw error;
    }
  }

  /** To be called once a node that `acquire` was called for has ended. */
  async release(): Promise<void> {
    if (--this.#users > 0) return;
    const running = this.#running;
    this.#running = undefined;
    await (await running)?.kill();
  }
}

const START_TIMEOUT_MS = 10_000;

async function launch(port: number): Promise<GuardedChild> {
  const child = GuardedChild.spawn(epmdBinary(), ['-port', String(port), '-address', '127.0.0.1'], {
    stdout: 'ignore',
    stderr: 'ignore',
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await answers(port))) {
    if (child.end !== undefined || performance.now() > deadline) {
      await child.kill();
      throw new Error(`Erlang's port mapper (epmd) does not answer on 127.0.0.1:${port}`);
    }
    await delay(20);
  }
  return child;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** On PATH, or where an Erlang runtime keeps its own copy. */
function epmdBinary(): string {
  const found = findOnPath('epmd');
  if (found !== undefined) return found;
  for (const root of ['/usr/lib/erlang', '/usr/lib64/erlang', '/usr/local/lib/erlang']) {
    if (!existsSync(root)) continue;
    for (const entry of readdirSync(root)) {
      const candidate = join(root, entry, 'bin', 'epmd');
      if (entry.startsWith('erts-') && existsSync(candidate)) return candidate;
    }
  }
  throw new Error("Erlang's port mapper (epmd) is not installed; it comes with RabbitMQ's Erlang");
}
