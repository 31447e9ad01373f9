import type { ChildProcess } from 'node:child_process';
import { Meter } from '../accounting/meter.ts';
import { forkOwn, stopOwn } from '../child-process.ts';
import { descriptorLimit, processesWithin } from '../peers/descriptors.ts';

export interface SlowPlan {
  readonly host: string;
  readonly port: number;
  /** Addresses to connect from; empty: the kernel's choice. */
  readonly sources: readonly string[];
  readonly count: number;
  /** Connects a second. */
  readonly ratePerS: number;
}

export interface SlowCounts {
  readonly opened: number;
  /** Closed by the target, or never connected. */
  readonly ended: number;
  readonly open: number;
}

/** What one of the processes gets: the whole plan, and which share of it is its own. */
export interface SlowShare extends SlowPlan {
  readonly index: number;
  readonly processes: number;
}

const NONE: SlowCounts = { opened: 0, ended: 0, open: 0 };

/** Clients that send a byte of a ClientHello a second, in as many processes as descriptors ask for. */
export class SlowSockets implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];
  readonly #counts: SlowCounts[] = [];

  constructor(plan: SlowPlan) {
    const processes = processesWithin(descriptorLimit(), plan.count, 1);
    for (let index = 0; index < processes; index++) {
      const child = forkOwn('fleet/slow-process.ts');
      this.#counts.push(NONE);
      child.on('message', (counts: SlowCounts) => {
        this.#counts[index] = counts;
      });
      child.send({ ...plan, index, processes } satisfies SlowShare);
      this.#children.push(child);
    }
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid!);
  }

  /** One meter for each process. */
  meters(): Meter[] {
    return this.pids.map((pid) => new Meter('harness', () => [pid]));
  }

  get counts(): SlowCounts {
    const sum = (of: (counts: SlowCounts) => number) =>
      this.#counts.reduce((all, counts) => all + of(counts), 0);
    return { opened: sum((c) => c.opened), ended: sum((c) => c.ended), open: sum((c) => c.open) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(stopOwn));
  }
}
