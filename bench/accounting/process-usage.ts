import { readdirSync, readFileSync } from 'node:fs';

/** What processes use, as proc(5) tells it. Linux only. */
export interface Usage {
  /** Of user and system, since each process began. */
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** USER_HZ, which is 100 on every architecture that Node.js runs on. */
const TICK_MS = 10;

/** CPU time in the text of /proc/PID/stat. The name in it may hold spaces and parentheses. */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // utime and stime are fields 14 and 15; the first behind the name is field 3.
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Resident memory in the text of /proc/PID/status. */
export function rssBytesOf(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1_024;
}

/**
 * `undefined` for a process that is gone.
 * @throws NodeJS.ErrnoException for one that is there and may not be looked at
 */
export function usageOf(pid: number): Usage | undefined {
  try {
    return {
      cpuMs: cpuMsOf(readFileSync(`/proc/${pid}/stat`, 'utf8')),
      rssBytes: rssBytesOf(readFileSync(`/proc/${pid}/status`, 'utf8')),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
    };
  } catch (error) {
    if (isOfNoProcess(error) || isEnding(pid)) return undefined;
    throw error;
  }
}

function isOfNoProcess(error: unknown): boolean {
  return ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Without memory, and not yet waited for. What is left of it belongs to root, and answers others with EACCES. */
function isEnding(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/status`, 'utf8').includes('\nVmRSS:');
  } catch (error) {
    return isOfNoProcess(error);
  }
}

/** Children of a process, not theirs. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** A process and all below it, but for shells: they only guard others. */
export function processTree(pid: number): number[] {
  const below = childrenOf(pid).flatMap(processTree);
  return programOf(pid) === 'sh' ? below : [pid, ...below];
}

function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
