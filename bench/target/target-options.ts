import { processTree, usageOf } from '../accounting/process-usage.ts';
import { gatewaySettings, processIds, type TargetOptions, targetOptions } from '../cli/common-options.ts';
import { UsageError } from '../cli/option-table.ts';

/** What else decides whether an option means anything. */
export interface GivenOptions extends TargetOptions {
  /** Peers, whose workers and keys these options are too. */
  readonly vs?: readonly string[];
  readonly admission?: string;
}

/**
 * That nothing is asked of a target that only a gateway of the harness's own can do.
 * @param names keys of --gateway that the backend goes by
 * @throws UsageError
 */
export function checkTarget(options: GivenOptions, names: readonly string[]): void {
  const { target, workers, key, vs = [], admission = 'on', gateway } = options;
  if (target === undefined) return;
  const hasPeers = vs.length > 0;
  const meaningless = {
    '--workers': workers !== targetOptions.workers.default && !hasPeers,
    '--key': key !== targetOptions.key.default && !hasPeers,
    '--admission': admission !== 'on',
  };
  for (const [option, isMeaningless] of Object.entries(meaningless))
    if (isMeaningless)
      throw new UsageError(`${option} needs a gateway of the harness's own; it does not go with --target`);
  for (const setting of Object.keys(gatewaySettings(gateway)))
    if (!names.includes(setting))
      throw new UsageError(
        `--gateway: ${setting} needs a gateway of the harness's own; with --target, expected one of ${names.join(', ')}`,
      );
}

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
