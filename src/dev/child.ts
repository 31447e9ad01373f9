import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

/**
 * A child in its own process group and session that cannot outlive this process, `kill -9` of it included.
 *
 * ```
 *   this process ──fd 3──► sh (the guard) ──exec──► the command      same pid, leader of the group
 *                   pipe     └─ watcher: reads fd 3; at its end, kills the group
 * ```
 *
 * The kernel closes the pipe however this process ends. As the group is not the terminal's, Ctrl-C there reaches
 * the child only if we pass it on. Processes that the command puts into further groups must look after themselves.
 */
const GUARD = `
( trap '' HUP INT TERM; read -r _ <&3; eval "$0"; kill -KILL -$$ ) </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
`;

export interface GuardedChildOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Where its output goes: ours, nowhere, a file descriptor, or a pipe in `process.stdout`. Default: `inherit`. */
  stdout?: 'inherit' | 'ignore' | 'pipe' | number;
  /** As `stdout`. */
  stderr?: 'inherit' | 'ignore' | 'pipe' | number;
  /** Shell text run before the group is killed, for what a signal cannot end, such as a container. */
  cleanup?: string;
}

export interface ChildEnd {
  /** Exit code, or null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class GuardedChild {
  readonly command: string;
  readonly process: ChildProcess;
  /** Settles when the command has ended; what it left in its group is killed first. Never rejects. */
  readonly ended: Promise<ChildEnd>;
  readonly #lifeline: Socket;
  readonly #cleanup: string;
  #end: ChildEnd | undefined;

  /** A command that cannot be found ends with code 127. */
  static spawn(command: string, args: readonly string[], options: GuardedChildOptions = {}): GuardedChild {
    return new GuardedChild(command, args, options);
  }

  private constructor(command: string, args: readonly string[], options: GuardedChildOptions) {
    this.command = command;
    this.#cleanup = options.cleanup ?? ':';
    this.process = spawn('/bin/sh', ['-c', GUARD, this.#cleanup, command, ...args], {
      detached: true,
      stdio: ['ignore', options.stdout ?? 'inherit', options.stderr ?? 'inherit', 'pipe'],
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.#lifeline = this.process.stdio[3] as Socket;
    this.#lifeline.on('error', () => {}); // The watcher went first; 'exit' tells the rest.
    this.#lifeline.unref();
    this.ended = new Promise((resolve) => {
      this.process.once('error', () => resolve(this.#recordEnd({ code: 127, signal: null })));
      this.process.once('exit', (code, signal) => resolve(this.#recordEnd({ code, signal })));
    });
  }

  /** Process id of the command, which is also the id of its group; 0 if it could not be started. */
  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** How the command ended, or `undefined` while it runs. */
  get end(): ChildEnd | undefined {
    return this.#end;
  }

  /** Sends a signal to the command alone. No effect once it has ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.#end === undefined) this.process.kill(signal);
  }

  /** Asks with `SIGTERM`; after `graceMs` (default 30 s) it kills the group. */
  async stop(graceMs = 30_000): Promise<ChildEnd> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.#killGroup(), graceMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Kills the whole group at once. */
  async kill(): Promise<ChildEnd> {
    if (this.#end === undefined) this.#killGroup();
    return this.ended;
  }

  #recordEnd(end: ChildEnd): ChildEnd {
    this.#end = end;
    // The watcher is still in the group, so the group's id cannot have been given to anybody else.
    this.#killGroup();
    return end;
  }

  #killGroup(): void {
    if (this.#cleanup === ':' && this.pid > 0) {
      try {
        process.kill(-this.pid, 'SIGKILL');
      } catch {
        // ESRCH: nobody is left.
      }
    }
    this.#lifeline.destroy();
  }
}
