import { describe, expect, test } from 'vitest';
import { cpuMsOf, processTree, rssBytesOf, usageOf } from '../../../../bench/accounting/process-usage.ts';

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
});
