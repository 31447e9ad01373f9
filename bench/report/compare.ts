import { parseArgs } from 'node:util';
import { type ComparedMetric, compareResults, doubts, newProblems } from './comparison.ts';
import { formatNumber, scaleOf } from './format.ts';
import { readResult } from './read.ts';
import { textGrid } from './text-grid.ts';

const USAGE = `usage: bench compare A.json B.json [--max-regression 10%]

Compares each figure of A with the same one of B, and judges those of which it is known which way is good. What was
0 in A is worse when it is more than the measurement can tell from 0: 1 µs, ms, s or % of a core, 1 MiB, or one line,
connection and the like. A figure by cause (connect.failed.ECONNRESET) that is missing in B is 0. A problem of B counts
as new when A has none that reads the same but for its numbers.

  --max-regression PERCENT  how much worse a figure of B may be (default: 10%)

Exit status: 0 good, 1 a figure became worse by more than that or is missing in B, or B has a new problem, 64 bad usage.
`;

const BAD_USAGE = 64;
const DEFAULT_MAX_REGRESSION = '10%';

/** `bench compare`. Returns the exit status. */
export async function compareCommand(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const { files, maxRegression } = parseCompareArguments(args);
    // One after the other: of two files that cannot be read, the first is named.
    const before = await readResult(files[0]);
    const after = await readResult(files[1]);
    if (before.scenario !== after.scenario) {
      throw new Error(`${files[0]} is of scenario ${before.scenario}, ${files[1]} of ${after.scenario}`);
    }
    const compared = compareResults(before, after, maxRegression);
    const problems = newProblems(before, after);
    const verdict = [
      renderComparison(compared, doubts(before, after), maxRegression),
      ...problems.map((problem) => `New in B: ${problem}`),
    ];
    process.stdout.write(`${verdict.join('\n')}\n`);
    return compared.some(isRegression) || problems.length > 0 ? 1 : 0;
  } catch (error) {
    process.stderr.write(`bench compare: ${(error as Error).message}\n`);
    return BAD_USAGE;
  }
}

/** @throws Error with one line that says what was expected */
export function parseCompareArguments(args: string[]): { files: [string, string]; maxRegression: number } {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { 'max-regression': { type: 'string', default: DEFAULT_MAX_REGRESSION } },
  });
  const [before, after, ...more] = positionals;
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`expected two result files, got ${positionals.length}`);
  }
  const percent = /^(\d+(?:\.\d+)?)%?$/.exec(values['max-regression'])?.[1];
  if (percent === undefined) {
    throw new Error(`--max-regression: expected a percentage such as 10%, got ${values['max-regression']}`);
  }
  return { files: [before, after], maxRegression: Number(percent) / 100 };
}

function isRegression({ verdict }: ComparedMetric): boolean {
  return verdict === 'regressed' || verdict === 'missing';
}

const REMARKS: Readonly<Record<ComparedMetric['verdict'], string>> = {
  regressed: 'WORSE',
  missing: 'MISSING in B',
  better: 'better',
  within: '',
  'not judged': '(not judged)',
};

function renderComparison(compared: readonly ComparedMetric[], warnings: readonly string[], limit: number) {
  const rows = compared.map(({ name, unit, target, before, after, change, verdict }) => {
    const scale = scaleOf(unit, [before.value, after?.value ?? 0]);
    const show = (value: number | undefined) =>
      value === undefined ? '–' : formatNumber(value / scale.divisor);
    return [
      name,
      target,
      scale.label,
      show(before.value),
      show(after?.value),
      formatChange(change),
      REMARKS[verdict],
    ];
  });
  const failures = compared.filter(isRegression).length;
  const percent = `${formatNumber(limit * 100)} %`;
  return [
    ...textGrid([['figure', 'target', 'unit', 'A', 'B', 'change', ''], ...rows], [0, 1, 2, 6]),
    '',
    ...warnings.map((warning) => `warning: ${warning}`),
    failures === 0
      ? `No figure is worse by more than ${percent}.`
      : `${failures} of ${compared.length} figures are missing or worse by more than ${percent}.`,
  ].join('\n');
}

function formatChange(change: number | undefined): string {
  if (change === undefined) return '–';
  if (!Number.isFinite(change)) return change > 0 ? '+∞' : '-∞';
  return `${change > 0 ? '+' : ''}${(change * 100).toFixed(1)} %`;
}
