import type { ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { Meter } from '../accounting/meter.ts';
import { forkOwn, stopOwn } from '../child-process.ts';
import { descriptorLimit, processesWithin } from '../peers/descriptors.ts';
import { LatencyBook } from './latency-book.ts';
import {
  type ConnectPace,
  type Counters,
  type FleetSettings,
  type FromLoad,
  noCounters,
  type PhaseBooks,
  type Request,
  sumCounters,
  type Tallies,
  type ToLoad,
} from './messages.ts';
import type { RetryPolicy } from './retry-policy.ts';

/** Below this many connections one process will do. */
const FEW_CONNECTIONS = 500;
/** So that all load processes have their plan before it begins. */
const LEAD_MS = 50;

export interface FleetOptions extends FleetSettings {
  /** In results. */
  readonly name: string;
  /** Load processes; 0: as many as `connections` need. */
  readonly processes: number;
  /** Connections that are planned at most. */
  readonly connections: number;
}

/** How many load processes so many connections need: two where cores are, and more for want of descriptors. */
export function loadProcessesFor(connections: number): number {
  const atEase = connections < FEW_CONNECTIONS ? 1 : Math.min(2, availableParallelism());
  return Math.max(atEase, processesWithin(descriptorLimit(), connections, 1));
}

/** Simulated devices, spread over load processes. */
export class Fleet implements AsyncDisposable {
  readonly name: string;
  /** Called about twice a second with what has happened since. */
  onInterval: (latencies: LatencyBook) => void = () => {};
  readonly #members: Member[];

  static async start(options: FleetOptions): Promise<Fleet> {
    const count = options.processes || loadProcessesFor(options.connections);
    const fleet = new Fleet(options.name, count);
    await Promise.all(fleet.#members.map((member) => member.start(count, options)));
    return fleet;
  }

  private constructor(name: string, count: number) {
    this.name = name;
    this.#members = Array.from(
      { length: count },
      (_, index) => new Member(index, (latencies) => this.onInterval(latencies)),
    );
  }

  get pids(): number[] {
    return this.#members.map(({ pid }) => pid);
  }

  /** One meter for each load process. */
  meters(): Meter[] {
    return this.pids.map((pid) => new Meter('harness', () => [pid]));
  }

  get counters(): Counters {
    return sumCounters(this.#members.map(({ counters }) => counters));
  }

  /** Resolves when each device has connected, or has failed once; those that retry go on. */
  async connect(count: number, pace: ConnectPace): Promise<void> {
    await this.#ask({ type: 'connect', count, pace, startEpochMs: soon() });
  }

  /** Lines in turn from all devices at a fixed rate, until `quiet`. */
  async send(ratePerS: number, lineBytes: number): Promise<void> {
    await this.#ask({ type: 'send', ratePerS, lineBytes, startEpochMs: soon() });
  }

  /** Lines from all devices as the sockets take them, until `upTo` have been sent since the start, or `quiet`. */
  async flood(lineBytes: number, upTo: number): Promise<void> {
    await this.#ask({ type: 'flood', lineBytes, upTo });
  }

  async quiet(): Promise<void> {
    await this.#ask({ type: 'quiet' });
  }

  /** What devices do from here on after a failure or a loss. */
  async setRetry(retry: RetryPolicy): Promise<void> {
    await this.#ask({ type: 'reconnect', retry });
  }

  /** What is planned from here on belongs to this phase. */
  async phase(name: string): Promise<void> {
    await this.#ask({ type: 'phase', name });
  }

  /** Latencies by phase. */
  async phases(): Promise<Map<string, LatencyBook>> {
    const books = new Map<string, LatencyBook>();
    for (const phases of await this.#ask<PhaseBooks>({ type: 'phases' })) {
      for (const [name, encoded] of Object.entries(phases)) {
        const book = books.get(name) ?? new LatencyBook();
        book.add(encoded);
        books.set(name, book);
      }
    }
    return books;
  }

  async tallies(): Promise<Tallies> {
    return (await this.#ask<Tallies>({ type: 'tallies' })).flat();
  }

  /** Ends all connections in good order. */
  async close(ratePerS = 5_000): Promise<void> {
    await this.#ask({ type: 'close', ratePerS });
  }

  /** @throws Error when a load process has ended */
  #ask<T>(request: Request): Promise<T[]> {
    return Promise.all(this.#members.map((member) => member.ask<T>(request)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => member.stop()));
  }
}

/** One load process, seen from the harness. */
class Member {
  counters: Counters = noCounters();
  readonly #index: number;
  readonly #child: ChildProcess;
  readonly #loaded: Promise<void>;
  readonly #waiting = new Map<
    number,
    { resolve: (answer: unknown) => void; reject: (error: Error) => void }
  >();
  #requests = 0;

  constructor(index: number, onInterval: (latencies: LatencyBook) => void) {
    this.#index = index;
    this.#child = forkOwn('fleet/load-process.ts');
    this.#loaded = new Promise((resolve, reject) => {
      this.#child.on('message', (message: FromLoad) => {
        if (message.type === 'loaded') {
          resolve();
        } else if (message.type === 'answer') {
          this.#waiting.get(message.id)?.resolve(message.answer);
          this.#waiting.delete(message.id);
        } else {
          this.counters = message.counters;
          const latencies = new LatencyBook();
          latencies.add(message.latencies);
          onInterval(latencies);
        }
      });
      this.#child.once('exit', (code, signal) => {
        const error = new Error(`load process ${index} ended (${signal ?? `code ${code}`})`);
        reject(error);
        for (const { reject: fail } of this.#waiting.values()) fail(error);
        this.#waiting.clear();
      });
    });
    this.#loaded.catch(() => {}); // `start` waits for it, unless the harness is stopped before.
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async start(processes: number, settings: FleetSettings): Promise<void> {
    await this.#loaded;
    this.#send({ type: 'start', index: this.#index, processes, settings });
  }

  ask<T>(request: Request): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#child.connected) throw new Error(`load process ${this.#index} has ended`);
      const id = this.#requests++;
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.#send({ type: 'request', id, request });
    });
  }

  #send(message: ToLoad): void {
    this.#child.send(message);
  }

  stop(): Promise<void> {
    return stopOwn(this.#child);
  }
}

function soon(): number {
  return performance.timeOrigin + performance.now() + LEAD_MS;
}
