import type { ChildProcess } from 'node:child_process';
import type { LedgerReport, SessionTally } from '../../src/dev/ledger.ts';
import { Meter } from '../accounting/meter.ts';
import { forkOwn, stopOwn } from '../child-process.ts';
import { type BackendSettings, type FromBackend, noBackendCounters, type ToBackend } from './messages.ts';

/** The backend process, seen from the harness. */
export class LoadBackend implements AsyncDisposable {
  counters = noBackendCounters();
  /** Called several times a second, with new counters. */
  onCounters: () => void = () => {};
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  #onMessage: (message: FromBackend) => void = () => {};

  /** Resolves when it consumes. @throws Error with the broker's answer when it cannot */
  static async start(settings: BackendSettings): Promise<LoadBackend> {
    const backend = new LoadBackend();
    try {
      await backend.#next('loaded');
      const ready = backend.#next('ready');
      backend.#send({ type: 'start', settings });
      await ready;
    } catch (error) {
      await backend[Symbol.asyncDispose]();
      throw error;
    }
    return backend;
  }

  private constructor() {
    this.#child = forkOwn('backend/backend-process.ts');
    this.#ended = new Promise((_, reject) => {
      this.#child.on('message', (message: FromBackend) => {
        if (message.type === 'counters') {
          this.counters = message.counters;
          this.onCounters();
        } else if (message.type === 'failed') {
          reject(new Error(message.why));
        } else {
          this.#onMessage(message);
        }
      });
      this.#child.once('exit', (code, signal) =>
        reject(new Error(`backend process ended (${signal ?? `code ${code}`})`)),
      );
    });
    this.#ended.catch(() => {}); // Told to whoever waits for something of it.
  }

  get pid(): number {
    return this.#child.pid!;
  }

  meter(): Meter {
    return new Meter('harness', () => [this.pid]);
  }

  /** The account of the ledger, when nothing is on the way any more. */
  async report(tallies: readonly SessionTally[]): Promise<LedgerReport> {
    const report = this.#next('report');
    this.#send({ type: 'report', tallies });
    return (await report).report;
  }

  #next<T extends FromBackend['type']>(type: T): Promise<Extract<FromBackend, { type: T }>> {
    const next = new Promise<Extract<FromBackend, { type: T }>>((resolve) => {
      this.#onMessage = (message) => {
        if (message.type === type) resolve(message as Extract<FromBackend, { type: T }>);
      };
    });
    return Promise.race([next, this.#ended]);
  }

  #send(message: ToBackend): void {
    this.#child.send(message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopOwn(this.#child);
  }
}
