import cluster, { type Worker } from 'node:cluster';
import type { MetricObject } from 'prom-client';
import type { FromShare, ToShare } from '../acceptor/machine-share.ts';
import type { NodeId } from '../registry/connection-id.ts';
import type { FromWorker, ToWorker } from './messages.ts';

/** What a slot tells its supervisor. */
export interface SlotEvents {
  statusChanged(): void;
  /** The worker said that starting it again would fail in the same way. */
  fatal(message: string): void;
  /** The worker has something to say about the limits of the machine, or has begun. */
  shared(slot: WorkerSlot, message: FromShare | 'begun'): void;
  /** The process is gone; `asked` when it had been told to drain. */
  exited(slot: WorkerSlot, code: number | null, signal: string | null, asked: boolean): void;
}

const SNAPSHOT_TIMEOUT_MS = 2_000;
const MAX_ADOPTED = 4;

/** One place for a worker process: the process that is in it now, and what that has said. */
export class WorkerSlot {
  readonly index: number;
  readonly #start: Omit<Extract<ToWorker, { type: 'start' }>, 'adopted'>;
  readonly #events: SlotEvents;
  readonly #snapshots = new Map<number, (metrics: MetricObject[]) => void>();
  #worker: Worker | null = null;
  #ready = false;
  #reason = 'not started';
  #asked = false;
  #unconfirmedFrames = 0;
  #nextSnapshot = 0;
  #node: NodeId | undefined;
  /** The last nodes that crashed in this slot; their successor empties their inboxes. */
  #crashed: NodeId[] = [];

  constructor(start: Omit<Extract<ToWorker, { type: 'start' }>, 'adopted'>, events: SlotEvents) {
    this.index = start.index;
    this.#start = start;
    this.#events = events;
  }

  get isRunning(): boolean {
    return this.#worker !== null;
  }

  get status(): { worker: number; pid: number | null; ready: boolean; reason: string } {
    return {
      worker: this.index,
      pid: this.#worker?.process.pid ?? null,
      ready: this.#ready,
      reason: this.#reason,
    };
  }

  /** Frames that the last worker in this slot left without a confirm when it drained. */
  get unconfirmedFrames(): number {
    return this.#unconfirmedFrames;
  }

  /** Starts a process; only when none is running. */
  spawn(): void {
    const worker = cluster.fork();
    this.#worker = worker;
    this.#asked = false;
    this.#setStatus(false, 'starting');
    worker.on('message', (message: FromWorker) => this.#received(worker, message));
    worker.on('exit', (code, signal) => this.#exited(code, signal));
    // A worker that dies while it is written to says so by its exit.
    worker.on('error', () => {});
  }

  /** Asks the worker to drain and exit. */
  drain(): void {
    this.#asked = true;
    this.#send({ type: 'drain' });
  }

  kill(): void {
    this.#asked = true;
    this.#worker?.process.kill('SIGKILL');
  }

  /** Passes on what the limits of the machine take. */
  share(message: ToShare): void {
    this.#send(message);
  }

  /** The worker's metrics; none when it does not answer in time. */
  snapshot(): Promise<MetricObject[]> {
    if (this.#worker === null) return Promise.resolve([]);
    const id = this.#nextSnapshot++;
    return new Promise((resolve) => {
      const done = (metrics: MetricObject[]) => {
        clearTimeout(timer);
        this.#snapshots.delete(id);
        resolve(metrics);
      };
      const timer = setTimeout(done, SNAPSHOT_TIMEOUT_MS, []);
      this.#snapshots.set(id, done);
      this.#send({ type: 'snapshot', id });
    });
  }

  #received(worker: Worker, message: FromWorker): void {
    switch (message.type) {
      case 'loaded':
        worker.send({ ...this.#start, adopted: this.#crashed } satisfies ToWorker);
        if (this.#asked) this.drain();
        break;
      case 'node':
        this.#node = message.id;
        this.#events.shared(this, 'begun');
        break;
      case 'status':
        this.#setStatus(message.ready, message.reason);
        break;
      case 'snapshot':
        this.#snapshots.get(message.id)?.(message.metrics);
        break;
      case 'fatal':
        this.#events.fatal(message.message);
        break;
      case 'drained':
        this.#unconfirmedFrames = message.unconfirmedFrames;
        break;
      default:
        this.#events.shared(this, message);
    }
  }

  #exited(code: number | null, signal: string | null): void {
    this.#worker = null;
    if (this.#node !== undefined && !this.#asked)
      this.#crashed = [this.#node, ...this.#crashed].slice(0, MAX_ADOPTED);
    this.#node = undefined;
    for (const done of this.#snapshots.values()) done([]);
    this.#setStatus(false, 'not running');
    this.#events.exited(this, code, signal, this.#asked);
  }

  #setStatus(ready: boolean, reason: string): void {
    const changed = ready !== this.#ready;
    this.#ready = ready;
    this.#reason = reason;
    if (changed) this.#events.statusChanged();
  }

  #send(message: ToWorker): void {
    if (this.#worker?.isConnected()) this.#worker.send(message);
  }
}
