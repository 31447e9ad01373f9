import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Command lines of the living processes whose command line or environment contains one of these texts. */
export function processesMentioning(...texts: string[]): string[] {
  const found: string[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const [commandLine, environment] = [read(entry, 'cmdline'), read(entry, 'environ')];
    // Both are empty for one that has ended and only waits for its parent to ask.
    if (texts.some((text) => commandLine.includes(text) || environment.includes(text))) {
      found.push(`${entry} ${commandLine}`);
    }
  }
  return found;
}

/** Resolves to what is left of such processes once nothing is, or after `timeoutMs`: expect it to equal []. */
export async function processesLeft(texts: string[], timeoutMs = 5_000): Promise<string[]> {
  const deadline = Date.now() + timeoutMs;
  let left = processesMentioning(...texts);
  while (left.length > 0 && Date.now() < deadline) {
    await delay(20);
    left = processesMentioning(...texts);
  }
  return left;
}

function read(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // It has just ended, or is another user's.
  }
}

/** The memory that a process holds, in bytes (VmRSS of proc(5)). */
export function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Number(kilobytes) * 1_024;
}

/** The processor time that a process has used, in milliseconds (utime and stime of proc(5)). */
export function processorTimeMs(pid: number): number {
  // The second field, the name in brackets, may contain spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

/** USER_HZ is 100 on every Linux that Node runs on. */
const MS_PER_TICK = 10;
