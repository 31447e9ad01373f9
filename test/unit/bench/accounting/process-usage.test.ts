import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import {
  childrenOf,
  cpuMsOf,
  processTree,
  rssBytesOf,
  usageOf,
} from '../../../../bench/accounting/process-usage.ts';
import { asNobody, isRoot } from '../../../helpers/as-nobody.ts';

describe('what /proc tells', () => {
  test('CPU time, behind a name with spaces and parentheses', () => {
    const stat = '42 (a) (b c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 7 20 0 11 0 12345 1 1';
    expect(cpuMsOf(stat)).toBe(3_000);
  });

  test('resident memory', () => {
    expect(rssBytesOf('Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t  2048 kB\n')).toBe(2_097_152);
    expect(rssBytesOf('Name:\tkthread\n')).toBe(0);
  });

  test('of this very process, and of none', () => {
    const usage = usageOf(process.pid)!;
    expect(usage.cpuMs).toBeGreaterThan(0);
    expect(usage.rssBytes).toBeGreaterThan(1_000_000);
    expect(usage.descriptors).toBeGreaterThan(2);
    expect(processTree(process.pid)).toContain(process.pid);
    expect(usageOf(2 ** 30)).toBeUndefined();
  });

  test.runIf(isRoot)('of one that may not be looked at: an error, and no figures of 0', () => {
    expect(() => asNobody(() => usageOf(process.ppid))).toThrow('EACCES');
  });

  test.runIf(isRoot)('of one that has ended and is not waited for: nothing, not an error', async () => {
    const parent = spawn('/bin/sh', ['-c', 'sleep 0 & exec sleep 60']);
    const ended = await vi.waitUntil(() => childrenOf(parent.pid!).find((pid) => stateOf(pid) === 'Z'));
    expect(asNobody(() => usageOf(ended))).toBeUndefined();
    parent.kill();
  });
});

function stateOf(pid: number): string | undefined {
  return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
}
