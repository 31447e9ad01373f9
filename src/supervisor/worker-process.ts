import cluster, { type Worker } from 'node:cluster';
import type { MetricObject } from 'prom-client';
import type { FromShare, ToShare } from '../acceptor/machine-share.ts';
import type { NodeId } from '../registry/connection-id.ts';
import type { FromWorker, StartMessage, ToWorker } from './messages.ts';
import { LOOK_MS, StatusWatch } from './status-watch.ts';

/** What a worker process tells its slot. */
export interface WorkerProcessEvents {
  statusChanged(process: WorkerProcess): void;
  /** It cannot work, for its `reason`, and starting it again would fail in the same way. */
  fatal(process: WorkerProcess): void;
  /** It was asked to drain and has not done so in its time: it was killed. */
  drainedTooSlowly(process: WorkerProcess): void;
  /** It has something to say about the limits of the machine, or has begun. */
  shared(process: WorkerProcess, message: FromShare | 'begun'): void;
  exited(process: WorkerProcess, exit: Exit): void;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

const SNAPSHOT_TIMEOUT_MS = 2_000;
/** What a drain may take beyond its own deadline. */
const KILL_AFTER_MS = 3_000;
/** A timer that is set to more fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** One worker process, from its fork to its exit: what it is told, and what it has said. */
export class WorkerProcess {
  /** Settles when the process is gone. */
  readonly exited: Promise<Exit>;
  /** Settles when it is ready for the first time. */
  readonly becameReady: Promise<void>;
  #onReady: () => void = () => {};
  readonly #worker: Worker;
  readonly #start: StartMessage;
  readonly #events: WorkerProcessEvents;
  readonly #watch: StatusWatch;
  /** Set once it has told its status for the first time: one that is slow to load does not hang. */
  #looking: NodeJS.Timeout | undefined;
  readonly #snapshots = new Map<number, () => void>();
  #lastMetrics: MetricObject[] = [];
  /** Gone nodes whose inboxes this one empties, or will once it has started. */
  readonly #adopted: NodeId[];
  #started = false;
  #ready = false;
  #reason = 'starting';
  #asked = false;
  #drained = false;
  #wasReady = false;
  #unconfirmedFrames = 0;
  #nextSnapshot = 0;
  #node: NodeId | undefined;

  constructor(start: StartMessage, adopted: readonly NodeId[], events: WorkerProcessEvents) {
    this.#start = start;
    this.#adopted = [...adopted];
    this.#events = events;
    this.#watch = new StatusWatch(start.config.readiness);
    this.#worker = cluster.fork();
    this.#worker.on('message', (message: FromWorker) => this.#received(message));
    this.becameReady = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    this.exited = new Promise((resolve) => {
      const gone = (exit: Exit) => {
        this.#exited(exit);
        resolve(exit);
      };
      this.#worker.on('exit', (code, signal) => gone({ code, signal }));
      // A worker that dies while it is written to says so by its exit; one that could not be forked has none.
      this.#worker.on('error', (error) => {
        if (this.#worker.process.pid !== undefined) return;
        this.#reason = `cannot be forked: ${error.message}`;
        gone({ code: null, signal: null });
      });
    });
  }

  get pid(): number {
    return this.#worker.process.pid!;
  }

  get isReady(): boolean {
    return this.#ready && !this.#watch.isSilent;
  }

  /** Why it is not ready. */
  get reason(): string {
    return this.#watch.isSilent ? 'worker does not answer' : this.#reason;
  }

  /** It had been told to drain, or was killed by us. */
  get wasAsked(): boolean {
    return this.#asked;
  }

  /** It is known what it leaves: it has told so when it drained, or it never had a device. */
  get hasToldAll(): boolean {
    return this.#drained || !this.#wasReady;
  }

  /** Frames that it left without a confirm when it drained. */
  get unconfirmedFrames(): number {
    return this.#unconfirmedFrames;
  }

  /** The node that it is; known once it has loaded. */
  get node(): NodeId | undefined {
    return this.#node;
  }

  /** Its metrics as it told them last. */
  get lastMetrics(): MetricObject[] {
    return this.#lastMetrics;
  }

  /** Asks it to drain and exit; kills it when it does not. */
  drain(): void {
    this.#send({ type: 'drain' });
    if (this.#asked) return;
    this.#asked = true;
    const allowedMs = Math.min(this.#start.config.shutdown.timeoutMs + KILL_AFTER_MS, MAX_TIMER_MS);
    const late = setTimeout(() => {
      this.#events.drainedTooSlowly(this);
      this.kill();
    }, allowedMs);
    void this.exited.then(() => clearTimeout(late));
  }

  kill(): void {
    this.#asked = true;
    this.#worker.process.kill('SIGKILL');
  }

  /** Has it empty the inbox of a node that is gone. */
  adopt(node: NodeId): void {
    if (this.#adopted.includes(node)) return;
    this.#adopted.push(node);
    if (this.#started) this.#send({ type: 'adopt', node });
  }

  /** Passes on what the limits of the machine take. */
  share(message: ToShare): void {
    this.#send(message);
  }

  /** Its metrics; those that it told last when it does not answer, or not in time. */
  snapshot(): Promise<MetricObject[]> {
    if (this.#watch.isSilent) return Promise.resolve(this.#lastMetrics);
    const id = this.#nextSnapshot++;
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#snapshots.delete(id);
        resolve(this.#lastMetrics);
      };
      const timer = setTimeout(done, SNAPSHOT_TIMEOUT_MS);
      this.#snapshots.set(id, done);
      this.#send({ type: 'snapshot', id });
    });
  }

  #received(message: FromWorker): void {
    switch (message.type) {
      case 'loaded':
        this.#started = true;
        this.#send(this.#start);
        for (const node of this.#adopted) this.#send({ type: 'adopt', node });
        if (this.#asked) this.#send({ type: 'drain' });
        break;
      case 'node':
        this.#node = message.id;
        this.#events.shared(this, 'begun');
        break;
      case 'status':
        this.#setStatus(message.ready, message.reason);
        break;
      case 'snapshot':
        this.#lastMetrics = message.metrics;
        this.#snapshots.get(message.id)?.();
        break;
      case 'fatal':
        this.#setStatus(false, message.message);
        this.#events.fatal(this);
        break;
      case 'drained':
        this.#drained = true;
        this.#unconfirmedFrames = message.unconfirmedFrames;
        this.#lastMetrics = message.metrics;
        break;
      default:
        this.#events.shared(this, message);
    }
  }

  #exited(exit: Exit): void {
    for (const done of this.#snapshots.values()) done();
    clearInterval(this.#looking);
    this.#ready = false;
    this.#events.exited(this, exit);
  }

  #setStatus(ready: boolean, reason: string): void {
    const wasReady = this.isReady;
    this.#watch.heard();
    this.#looking ??= setInterval(() => {
      if (this.#watch.look()) this.#events.statusChanged(this);
    }, LOOK_MS).unref();
    this.#ready = ready;
    this.#reason = reason;
    if (ready) {
      this.#wasReady = true;
      this.#onReady();
    }
    if (this.isReady !== wasReady) this.#events.statusChanged(this);
  }

  #send(message: ToWorker): void {
    if (this.#worker.isConnected()) this.#worker.send(message);
  }
}
