import { type Usage, usageOf } from './process-usage.ts';

/** The use of a changing set of processes. CPU time of those that have ended stays in the sum. */
export class Meter {
  readonly target: string;
  readonly #pids: () => readonly number[];
  readonly #cpuMs = new Map<number, number>();
  #endedCpuMs = 0;

  /** @param target who it is of, as results name it */
  constructor(target: string, pids: () => readonly number[]) {
    this.target = target;
    this.#pids = pids;
  }

  read(): Usage {
    const current = new Map<number, Usage>();
    for (const pid of this.#pids()) {
      const usage = usageOf(pid);
      if (usage !== undefined) current.set(pid, usage);
    }
    for (const [pid, cpuMs] of this.#cpuMs) {
      if (current.has(pid)) continue;
      this.#endedCpuMs += cpuMs;
      this.#cpuMs.delete(pid);
    }
    let cpuMs = this.#endedCpuMs;
    let rssBytes = 0;
    let descriptors = 0;
    for (const [pid, usage] of current) {
      this.#cpuMs.set(pid, usage.cpuMs);
      cpuMs += usage.cpuMs;
      rssBytes += usage.rssBytes;
      descriptors += usage.descriptors;
    }
    return { cpuMs, rssBytes, descriptors };
  }
}
