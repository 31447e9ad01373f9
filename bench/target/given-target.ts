import { processTree } from '../accounting/process-usage.ts';
import type { Target } from './target.ts';

/** A program that somebody else has started. */
export class GivenTarget implements Target {
  readonly name = 'target';
  readonly version = '';
  readonly host: string;
  readonly port: number;
  readonly #pids: readonly number[];

  /** @param pids of its processes; those below them count too. Empty: no accounting, as on another machine */
  constructor(host: string, port: number, pids: readonly number[]) {
    this.host = host;
    this.port = port;
    this.#pids = pids;
  }

  pids(): number[] {
    return [...new Set(this.#pids.flatMap(processTree))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It is not ours.
  }
}
