import { setTimeout as delay } from 'node:timers/promises';
import type { FromShare } from '../acceptor/machine-share.ts';
import type { LoadedFiles } from '../config/files.ts';
import type { Config } from '../config/schema.ts';
import type { Sources } from '../config/sources.ts';
import type { NodeId } from '../registry/connection-id.ts';
import type { Snapshot } from './metrics-sum.ts';
import { type Exit, WorkerProcess } from './worker-process.ts';

/** What a slot tells its supervisor. */
export interface SlotEvents {
  statusChanged(): void;
  /** Its worker said that starting it again would fail in the same way. */
  fatal(message: string): void;
  /** A process of the slot has something to say about the limits of the machine, has begun, or is gone. */
  shared(process: WorkerProcess, message: FromShare | 'begun' | 'ended'): void;
  drainedTooSlowly(slot: WorkerSlot): void;
  exited(slot: WorkerSlot, exit: SlotExit): void;
  /** What it had counted. */
  retired(metrics: Snapshot): void;
}

/** The end of a process. */
export interface SlotExit extends Exit {
  /** Nobody misses it. */
  readonly asked: boolean;
  readonly failed: boolean;
  /** It did not come to tell how many frames it left without a confirm. */
  readonly silent: boolean;
}

/** What an operator has given. */
export interface LoadedSettings {
  readonly config: Config;
  readonly files: LoadedFiles;
  /** Where each key of `config` was given. */
  readonly sources: Sources;
}

/** What a worker runs with. */
export interface WorkerSettings extends Omit<LoadedSettings, 'sources'> {
  /** How many workers there are in all. */
  readonly workers: number;
  readonly ticketSecret: string;
}

const MAX_ADOPTED = 4;

/** One place for a worker process: the one that is in it now, and during a replacement the next or the last one. */
export class WorkerSlot {
  readonly index: number;
  readonly #events: SlotEvents;
  /** All that are not gone. */
  readonly #processes = new Set<WorkerProcess>();
  #settings: WorkerSettings;
  #current: WorkerProcess | null = null;
  #unconfirmedFrames = 0;
  /** The last nodes of this slot that are gone; their successor empties their inboxes. */
  #gone: NodeId[] = [];

  constructor(index: number, settings: WorkerSettings, events: SlotEvents) {
    this.index = index;
    this.#settings = settings;
    this.#events = events;
  }

  get isRunning(): boolean {
    return this.#current !== null;
  }

  /** No process is left, not even one that drains. */
  get isEmpty(): boolean {
    return this.#processes.size === 0;
  }

  get status(): { worker: number; pid: number | null; ready: boolean; reason: string } {
    const current = this.#current;
    return {
      worker: this.index,
      pid: current?.pid ?? null,
      ready: current?.isReady ?? false,
      reason: current?.reason ?? 'not running',
    };
  }

  /** Frames that workers of this slot left without a confirm when they drained. */
  get unconfirmedFrames(): number {
    return this.#unconfirmedFrames;
  }

  /** Starts a process unless one is running. */
  spawn(): void {
    this.#current ??= this.#fork(this.#settings);
    this.#events.statusChanged();
  }

  /**
   * Starts a process beside the current one, and drains that once the new one is ready. Resolves when it is gone.
   * @throws Error when the new one does not become ready; the current one stays then
   */
  async replace(settings: WorkerSettings): Promise<void> {
    const { readyTimeoutMs } = settings.config.restart;
    const next = this.#fork(settings);
    const late = new AbortController();
    await Promise.race([
      next.becameReady,
      next.exited,
      delay(readyTimeoutMs, undefined, { signal: late.signal }).catch(() => {}),
    ]);
    late.abort();
    if (!next.isReady) {
      next.kill();
      throw new Error(`the new worker did not become ready: ${next.reason}`);
    }
    const old = this.#current;
    this.#current = next;
    this.#settings = settings;
    // Some may have crashed while it got ready.
    for (const node of this.#gone) next.adopt(node);
    this.#events.statusChanged();
    if (old === null) return;
    old.drain();
    await old.exited;
  }

  /** Asks all its processes to drain and exit. */
  drain(): void {
    for (const process of this.#processes) process.drain();
  }

  kill(): void {
    for (const process of this.#processes) process.kill();
  }

  async snapshots(): Promise<Snapshot[]> {
    return await Promise.all([...this.#processes].map((process) => process.snapshot()));
  }

  #fork(settings: WorkerSettings): WorkerProcess {
    const start = { type: 'start', index: this.index, ...settings } as const;
    const process = new WorkerProcess(start, this.#gone, {
      statusChanged: () => this.#events.statusChanged(),
      fatal: (process) => {
        if (process === this.#current) this.#events.fatal(process.reason);
        else process.kill();
      },
      drainedTooSlowly: () => this.#events.drainedTooSlowly(this),
      shared: (process, message) => this.#events.shared(process, message),
      exited: (process, exit) => this.#exited(process, exit),
    });
    this.#processes.add(process);
    return process;
  }

  #exited(process: WorkerProcess, exit: Exit): void {
    this.#processes.delete(process);
    this.#events.shared(process, 'ended');
    this.#unconfirmedFrames += process.unconfirmedFrames;
    const asked = process.wasAsked || process !== this.#current;
    if (process === this.#current) this.#current = null;
    if (process.node !== undefined) {
      this.#gone = [process.node, ...this.#gone].slice(0, MAX_ADOPTED);
      // Backends may still answer its connections.
      this.#current?.adopt(process.node);
    }
    this.#events.retired(process.lastMetrics);
    this.#events.statusChanged();
    // One that could not be forked has neither code nor signal.
    const failed = exit.signal !== null || (exit.code ?? 0) !== 0;
    this.#events.exited(this, { ...exit, asked, failed, silent: failed && !process.hasToldAll });
  }
}
