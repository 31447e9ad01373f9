import { readFileSync } from 'node:fs';

/** Kept back for listeners, logs, event queues, pipes between processes. */
const RESERVED = 128;

/** How much more than its even share one process may get when the kernel spreads connections. */
const UNEVENNESS = 1.2;

/** Descriptors that a process started by us may have: Node has raised our own limit to the hard one. */
export function descriptorLimit(): number {
  try {
    const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
  } catch {
    return Number.POSITIVE_INFINITY; // There is no /proc here.
  }
}

/** Descriptors that one of `processes` needs when they share connections that take `each` of them. */
export function descriptorsPerProcess(connections: number, each: number, processes: number): number {
  const share = processes === 1 ? connections : Math.ceil((connections * UNEVENNESS) / processes);
  return share * each + RESERVED;
}

/** The least number of processes that stay within `limit` descriptors each. */
export function processesWithin(limit: number, connections: number, each: number): number {
  if (descriptorsPerProcess(connections, each, 1) <= limit) return 1;
  const perProcess = Math.max(1, Math.floor((limit - RESERVED) / each));
  return Math.max(2, Math.ceil((connections * UNEVENNESS) / perProcess));
}
