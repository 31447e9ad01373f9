import { describe, expect, test } from 'vitest';
import { harnessProblems } from '../../../bench/harness-verdict.ts';

const GOOD = { busiestCpuShare: 0.5, schedules: { sends: { lagP99Ms: 3, planned: 1_000, done: 995 } } };

describe('harnessProblems', () => {
  test('a harness that kept its plan with room to spare has none', () => {
    expect(harnessProblems(GOOD, 100)).toEqual([]);
  });

  test.each([
    ['a whole core', { ...GOOD, busiestCpuShare: 0.99 }, /used 99 % of a core/],
    [
      'late',
      { ...GOOD, schedules: { sends: { lagP99Ms: 150, planned: 10, done: 10 } } },
      /sends were up to 150 ms behind/,
    ],
    [
      'latency that is mostly lag',
      { ...GOOD, schedules: { sends: { lagP99Ms: 20, latencyP99Ms: 30, planned: 10, done: 10 } } },
      /the p99 of 30 ms is largely its own/,
    ],
    [
      'short',
      { ...GOOD, schedules: { connects: { lagP99Ms: 1, planned: 1_000, done: 900 } } },
      /only 900 of 1000 connects/,
    ],
  ])('%s is said', (_, figures, text) => {
    const problems = harnessProblems(figures, 100);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(text);
    expect(problems[0]).toMatch(/^harness: /);
  });
});
