import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { compareCommand, parseCompareArguments } from '../../../../bench/report/compare.ts';
import { compareResults, doubts } from '../../../../bench/report/comparison.ts';
import type { BenchResult, Metric } from '../../../../bench/report/result.ts';
import { benchResult, figure } from '../../../helpers/bench-result.ts';
import { CapturedOutput } from '../../../helpers/captured-output.ts';

const of = (...metrics: Metric[]) => benchResult({ metrics });

describe('what became of a figure', () => {
  const verdict = (before: number, after: number, better?: Metric['better']) =>
    compareResults(
      of(figure('f', 'ms', 'owsla', before, better)),
      of(figure('f', 'ms', 'owsla', after, better)),
      0.1,
    )[0]!.verdict;

  test.each([
    [100, 111, 'lower', 'regressed'],
    [100, 110, 'lower', 'within'],
    [100, 90, 'lower', 'better'],
    [100, 89, 'higher', 'regressed'],
    [100, 91, 'higher', 'within'],
    [100, 120, 'higher', 'better'],
    [0, 0, 'lower', 'within'],
    [0, 1, 'lower', 'within'],
    [0, 1.1, 'lower', 'regressed'],
    [0, 5, 'higher', 'better'],
    [100, 500, undefined, 'not judged'],
  ] as const)('%d, then %d, where %s is better: %s', (before, after, better, expected) => {
    expect(verdict(before, after, better)).toBe(expected);
  });

  test.each([
    ['{line}', 1, 'regressed'],
    ['%', 0.4, 'within'],
    ['s', 0.9, 'within'],
    ['s', 40, 'regressed'],
    ['B/h', 5_000, 'within'],
  ] as const)('from 0, in %s, to %d: %s', (unit, after, expected) => {
    const [compared] = compareResults(
      of(figure('f', unit, 'owsla', 0, 'lower')),
      of(figure('f', unit, 'owsla', after, 'lower')),
      0.1,
    );
    expect(compared!.verdict).toBe(expected);
  });

  test('is 0 where there is only a figure when something happened', () => {
    const before = of(
      figure('connect.failed.ECONNRESET', '{connection}', 'owsla', 3, 'lower'),
      figure('replies.undelivered.gone', '{line}', 'owsla', 2),
    );
    expect(compareResults(before, of(), 0.1)).toMatchObject([
      { after: { value: 0 }, verdict: 'better' },
      { after: { value: 0 }, verdict: 'not judged' },
    ]);
  });

  test('is asked by name, target and unit', () => {
    const before = of(figure('f', 'ms', 'owsla', 1, 'lower'), figure('f', 'ms', 'nginx', 1, 'lower'));
    const after = of(figure('f', 'us', 'owsla', 1, 'lower'), figure('f', 'ms', 'nginx', 1, 'lower'));
    expect(compareResults(before, after, 0).map(({ verdict }) => verdict)).toEqual(['missing', 'within']);
  });

  test('is a regression in one direction at most', () => {
    const value = fc.double({ min: 0, max: 1e9, noNaN: true });
    fc.assert(
      fc.property(value, value, fc.constantFrom('lower', 'higher'), (a, b, better) => {
        const verdicts = [verdict(a, b, better), verdict(b, a, better)];
        expect(verdicts.filter((verdict) => verdict === 'regressed').length).toBeLessThan(2);
      }),
    );
  });
});

describe('a comparison', () => {
  test('is doubtful across machines, versions, options and runs with problems', () => {
    const after = benchResult({
      machine: { cpu: 'Another', cores: 2, memoryBytes: 24 * 2 ** 30, kernel: 'Linux 6.1.0' },
      versions: { owsla: '0.2.0', node: '20.19.0', nginx: '1.22.1' },
      options: { ...benchResult().options, rate: 700, json: 'b.json' },
      problems: ['lines were lost'],
    });
    expect(doubts(benchResult(), after)).toEqual([
      'machine cpu differs: A Processor and Another',
      'version owsla differs: 0.1.0 and 0.2.0',
      'option rate differs: 500 and 700',
      'the second run has a problem: lines were lost',
    ]);
    expect(doubts(benchResult(), benchResult())).toEqual([]);
  });
});

describe('bench compare', () => {
  let dir: string;
  let output: CapturedOutput;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'owsla-compare-test-'));
    output = CapturedOutput.begin();
  });

  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(dir, { recursive: true });
  });

  const file = (name: string, result: BenchResult | string) => {
    const path = join(dir, name);
    writeFileSync(path, typeof result === 'string' ? result : JSON.stringify(result));
    return path;
  };

  test('ends with 0 when nothing is worse by more than the limit', async () => {
    const a = file('a.json', benchResult());
    const b = file('b.json', benchResult());
    expect(await compareCommand([a, b])).toBe(0);
    expect(output.stdout).toMatch(/^memory\.perConnection +owsla +KiB +30\.7 +30\.7 +0\.0 %$/m);
    expect(output.stdout).toContain('No figure is worse by more than 10 %.');
  });

  test('ends with 1 when one is', async () => {
    const a = file('a.json', of(figure('f', 'ms', 'owsla', 100, 'lower')));
    const b = file('b.json', of(figure('f', 'ms', 'owsla', 104, 'lower')));
    expect(await compareCommand([a, b])).toBe(0);
    expect(await compareCommand([a, b, '--max-regression', '3%'])).toBe(1);
    expect(output.stdout).toMatch(/^f +owsla +ms +100 +104 +\+4\.0 % +WORSE$/m);
  });

  test('ends with 1 when a figure is missing', async () => {
    const a = file('a.json', of(figure('f', 'ms', 'owsla', 100)));
    expect(await compareCommand([a, file('b.json', of())])).toBe(1);
    expect(output.stdout).toContain('MISSING in B');
  });

  test('ends with 1 when the second run has a problem of its own', async () => {
    const result = (...problems: string[]) => benchResult({ problems });
    const a = file('a.json', result('3 lines lost'));
    expect(await compareCommand([a, file('b.json', result('2 lines lost'))])).toBe(0);
    expect(await compareCommand([a, file('c.json', result())])).toBe(0);
    expect(await compareCommand([a, file('d.json', result('2 lines lost', '1 replies lost'))])).toBe(1);
    expect(output.stdout).toMatch(/^New in B: 1 replies lost$/m);
  });

  test.each([
    ['no file', () => [], 'expected two result files, got 0'],
    ['three files', () => ['a', 'b', 'c'], 'expected two result files, got 3'],
    ['a file that is not there', () => ['/nowhere/a', '/nowhere/b'], '/nowhere/a: cannot be read (ENOENT)'],
    ['an unknown option', () => ['a', 'b', '--nonsense'], '--nonsense'],
    ['text', () => [file('x', 'hello'), file('y', benchResult())], 'is not JSON'],
    ['other JSON', () => [file('x', '{"schema":1}'), file('y', benchResult())], 'is no result of a run: '],
    [
      'two scenarios',
      () => [file('x', benchResult()), file('y', benchResult({ scenario: 'echo' }))],
      'of scenario connect',
    ],
    ['a limit that is none', () => ['a', 'b', '--max-regression', 'much'], 'expected a percentage'],
  ])('ends with 64 and one line for %s', async (_, args, expected) => {
    expect(await compareCommand(args())).toBe(64);
    expect(output.stderr).toMatch(/^bench compare: [^\n]+\n$/);
    expect(output.stderr).toContain(expected);
    expect(output.stdout).toBe('');
  });

  test('takes the limit in per cent', () => {
    expect(parseCompareArguments(['a', 'b', '--max-regression=2.5%']).maxRegression).toBe(0.025);
    expect(parseCompareArguments(['a', 'b', '--max-regression', '5']).maxRegression).toBe(0.05);
    expect(parseCompareArguments(['a', 'b']).maxRegression).toBe(0.1);
  });
});
