import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Living processes of a group. */
export function membersOfGroup(leader: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => groupOf(pid) === leader && programOf(pid) !== undefined);
}

/**
 * Those that run the same program as the group's leader, itself included; none when it has ended. The guard of the
 * group is a shell, and so is left out.
 */
export function programsOfGroup(leader: number): number[] {
  const program = programOf(leader);
  return program === undefined ? [] : membersOfGroup(leader).filter((pid) => programOf(pid) === program);
}

/** Path of the executable; `undefined` for a process that has ended, even if its parent has not asked yet. */
function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

function groupOf(pid: number): number | undefined {
  if (!Number.isInteger(pid)) return undefined;
  try {
    // proc(5): process id, (name), state, parent, group. The name may hold anything and ends with the last ')'.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    return undefined;
  }
}
