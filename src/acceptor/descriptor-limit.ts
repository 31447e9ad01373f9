import { readFileSync } from 'node:fs';

/** Descriptors kept back for the broker, the log, the admin port and files that are read again. */
const RESERVED = 96;

/**
 * How many device sockets fit under this process's soft limit of open files. Past it the kernel refuses accepts in a
 * way that nobody sees, and everything else that needs a descriptor (a broker reconnect, above all) fails too.
 * @returns `Infinity` where there is none, or no /proc to tell it (no Linux); `undefined` where it cannot be read now,
 *   which itself takes a descriptor
 */
export function connectionsWithinDescriptorLimit(
  readLimits: () => string = readOwnLimits,
): number | undefined {
  let limits: string;
  try {
    limits = readLimits();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? Number.POSITIVE_INFINITY : undefined;
  }
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Number(soft) - RESERVED);
}

function readOwnLimits(): string {
  return readFileSync('/proc/self/limits', 'utf8');
}
