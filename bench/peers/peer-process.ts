import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GuardedChild } from '../../src/dev/child.ts';
import { freePort } from '../../src/dev/free-port.ts';
import type { Peer, PeerCertificates, PeerName, PeerOptions } from './peer.ts';
import { membersOfGroup, programsOfGroup } from './process-group.ts';

/** What makes one peer different from another. */
export interface PeerRecipe {
  readonly name: PeerName;
  readonly version: string;
  readonly program: string;
  /**
   * Writes what the program reads into its private folder, which is its working directory and holds `cert.pem` and
   * `key.pem`, and returns its arguments.
   */
  configure(dir: string, host: string, port: number): readonly string[];
  /** How many processes there are, all told, once it serves. */
  readonly processes: number;
  /** How often the program is started, all of them on the same port. Default: 1. */
  readonly instances?: number;
  /** A file that appears in the folder when it serves. Default: it serves when it takes TCP connections. */
  readonly readyFile?: string;
  readonly hello?: Buffer;
  readonly notes?: readonly string[];
  /** What it cannot do without, and what ends after it. */
  readonly upstream?: AsyncDisposable;
}

const START_TIMEOUT_MS = 20_000;
const PAUSE_MS = 20;
const TAIL_CHARACTERS = 600;

/** A peer that runs as a program of its own, in a private folder, in foreground and in a guarded process group. */
export class PeerProcess implements Peer {
  readonly name: PeerName;
  readonly version: string;
  readonly host: string;
  readonly port: number;
  readonly hello?: Buffer;
  readonly notes: readonly string[];
  readonly #recipe: PeerRecipe;
  readonly #dir: string;
  readonly #children: readonly GuardedChild[];
  /** The end of what its processes have printed. */
  #said = '';

  /** @throws Error with the end of what the program said when it does not come up */
  static async start(
    recipe: PeerRecipe,
    certificates: PeerCertificates,
    options: PeerOptions,
  ): Promise<PeerProcess> {
    const dir = mkdtempSync(join(tmpdir(), `owsla-peer-${recipe.name}-`));
    let peer: PeerProcess | undefined;
    try {
      const port = await freePort();
      copyFileSync(certificates.cert, join(dir, 'cert.pem'));
      copyFileSync(certificates.key, join(dir, 'key.pem'));
      peer = new PeerProcess(recipe, dir, options, port);
      await peer.#serves();
      return peer;
    } catch (error) {
      await peer?.[Symbol.asyncDispose]();
      await recipe.upstream?.[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(recipe: PeerRecipe, dir: string, options: PeerOptions, port: number) {
    const { host = '127.0.0.1', launcher = [] } = options;
    this.name = recipe.name;
    this.version = recipe.version;
    this.host = host;
    this.port = port;
    if (recipe.hello !== undefined) this.hello = recipe.hello;
    this.notes = recipe.notes ?? [];
    this.#recipe = recipe;
    this.#dir = dir;
    const command = [...launcher, recipe.program, ...recipe.configure(dir, host, port)];
    this.#children = Array.from({ length: recipe.instances ?? 1 }, () => this.#spawn(command));
  }

  pids(): number[] {
    return this.#children.flatMap(({ pid }) => programsOfGroup(pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()));
    // The guards kill the groups; their processes, and with them the port, are gone a moment later.
    while (this.#children.some(({ pid }) => membersOfGroup(pid).length > 0)) await delay(PAUSE_MS);
    rmSync(this.#dir, { recursive: true, force: true });
    await this.#recipe.upstream?.[Symbol.asyncDispose]();
  }

  #spawn([program, ...args]: readonly string[]): GuardedChild {
    const child = GuardedChild.spawn(program!, args, {
      cwd: this.#dir,
      env: { PATH: process.env.PATH, LANG: 'C.UTF-8', PEER_DIR: this.#dir },
      stdout: 'pipe',
      stderr: 'pipe',
      cleanup: 'rm -rf "$PEER_DIR"',
    });
    for (const stream of [child.process.stdout!, child.process.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        this.#said = (this.#said + chunk.toString()).slice(-TAIL_CHARACTERS);
      });
    }
    return child;
  }

  async #serves(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await this.#isServing())) {
      const isEnded = this.#children.some(({ end }) => end !== undefined);
      if (isEnded || performance.now() > deadline) {
        const why = isEnded ? 'ended' : `did not serve within ${START_TIMEOUT_MS} ms`;
        throw new Error(`${this.name} ${why} at its start: ${this.#said.trim()}`);
      }
      await delay(PAUSE_MS);
    }
  }

  async #isServing(): Promise<boolean> {
    const { readyFile, processes } = this.#recipe;
    if (readyFile !== undefined && !existsSync(join(this.#dir, readyFile))) return false;
    return (await takesConnections(this.host, this.port)) && this.pids().length >= processes;
  }
}

function takesConnections(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
