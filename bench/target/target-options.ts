import { processTree, usageOf } from '../accounting/process-usage.ts';
import { processIds, type TargetOptions } from '../cli/common-options.ts';
import { UsageError } from '../cli/option-table.ts';

/** That the processes which are named are there, and tell what they use. @throws UsageError */
export function checkPids({ target, pid: pids }: Pick<TargetOptions, 'target' | 'pid'>): void {
  if (target === undefined && pids.length > 0)
    throw new UsageError('--pid needs --target: the harness knows the processes that it starts');
  for (const pid of processIds(pids)) {
    if (!isThere(pid))
      throw new UsageError(`--pid: there is no process ${pid}; expected one that runs on this machine`);
    for (const below of processTree(pid)) isThere(below);
  }
}

/** @throws UsageError when it is, and may not be looked at */
function isThere(pid: number): boolean {
  try {
    return usageOf(pid) !== undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(
      `--pid: process ${pid} may not be looked at (${code}); expected a harness that runs as the same user, or as root`,
    );
  }
}
