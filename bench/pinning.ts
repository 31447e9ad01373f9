import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { UsageError } from './cli/option-table.ts';

/** A command line that starts another one. Empty: that is started as it is. */
export type Launcher = readonly string[];

/**
 * Gives the first half of the cores to the target alone, and the rest to this process and all that it starts in any
 * other way: load, backend, broker. So what the load costs is not taken from the target. Linux only (taskset).
 *
 * @returns what the target is to be started with
 * @throws UsageError when there is one core
 */
export function pinApart(): Launcher {
  const cores = availableParallelism();
  if (cores < 2) throw new UsageError('--pin needs two cores; this machine has one');
  const first = Math.floor(cores / 2);
  // Of all its threads; what is started later inherits it.
  execFileSync('taskset', ['-a', '-p', '-c', `${first}-${cores - 1}`, String(process.pid)]);
  return ['taskset', '-c', `0-${first - 1}`];
}
