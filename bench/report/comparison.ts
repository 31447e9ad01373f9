import type { BenchResult, Metric } from './result.ts';

/** One figure in two runs. */
export interface ComparedMetric {
  readonly name: string;
  readonly unit: string;
  readonly target: string;
  readonly before: Metric;
  /** `undefined`: the second run has no such figure. */
  readonly after: Metric | undefined;
  /** Relative to the first run: 0.1 is ten per cent more. `undefined` where there is nothing to relate to. */
  readonly change: number | undefined;
  readonly verdict: 'regressed' | 'missing' | 'better' | 'within' | 'not judged';
}

/** Beginnings of figures by cause, of which a run has only what happened: one that is missing is 0. */
const BY_CAUSE = ['connect.failed.', 'replies.undelivered.'];

/**
 * What cannot be told from 0, by unit: a clock's tick, a second's look, a garbage collection. Lines, connections and
 * other countable things are not here; one is one.
 */
const NOTHING: Readonly<Record<string, number>> = {
  us: 1,
  ms: 1,
  s: 1,
  '%': 1,
  B: 2 ** 20,
  'B/h': 2 ** 20,
};

/**
 * What became of each figure of `before`. A figure is judged where it says which way is good; one that is missing
 * counts as a regression whether it is judged or not. From 0 to something is a regression where it can be told from 0.
 * @param maxRegression relative, for example 0.1
 */
export function compareResults(
  before: BenchResult,
  after: BenchResult,
  maxRegression: number,
): ComparedMetric[] {
  const later = new Map(after.metrics.map((metric) => [keyOf(metric), metric]));
  return before.metrics.map((metric) => {
    const { name, unit, target, better } = metric;
    const found = later.get(keyOf(metric)) ?? impliedZero(metric);
    const compared = { name, unit, target, before: metric, after: found };
    if (found === undefined) return { ...compared, change: undefined, verdict: 'missing' };
    const change = relativeChange(metric.value, found.value);
    if (better === undefined) return { ...compared, change, verdict: 'not judged' };
    const isNothing = metric.value === 0 && Math.abs(found.value) <= (NOTHING[unit] ?? 0);
    if (isNothing) return { ...compared, change, verdict: 'within' };
    const worsening = better === 'lower' ? change : -change;
    const verdict = worsening > maxRegression ? 'regressed' : worsening < 0 ? 'better' : 'within';
    return { ...compared, change, verdict };
  });
}

function impliedZero({ name, unit, target }: Metric): Metric | undefined {
  return BY_CAUSE.some((begin) => name.startsWith(begin)) ? { name, unit, target, value: 0 } : undefined;
}

/** Problems of `after` that `before` has not; which numbers are in them makes no difference. */
export function newProblems(before: BenchResult, after: BenchResult): string[] {
  const kindOf = (problem: string) => problem.replaceAll(/\d+(?:\.\d+)?/g, '0');
  const known = new Set(before.problems.map(kindOf));
  return after.problems.filter((problem) => !known.has(kindOf(problem)));
}

/** Options that say where a report goes, and nothing about the run. */
const OUTPUT_OPTIONS = ['json', 'html'];

/** What makes a comparison doubtful, one line each: other machines, versions, options, or runs with problems. */
export function doubts(before: BenchResult, after: BenchResult): string[] {
  return [
    ...differences('machine', { ...before.machine }, { ...after.machine }),
    ...differences('version', before.versions, after.versions),
    ...differences('option', measured(before.options), measured(after.options)),
    ...before.problems.map((problem) => `the first run has a problem: ${problem}`),
    ...after.problems.map((problem) => `the second run has a problem: ${problem}`),
  ];
}

/** A figure in another unit is another figure. */
function keyOf({ name, unit, target }: Metric): string {
  return JSON.stringify([name, unit, target]);
}

/** From nothing to something is infinitely more. */
function relativeChange(before: number, after: number): number {
  if (before === after) return 0;
  return before === 0 ? Math.sign(after) * Number.POSITIVE_INFINITY : (after - before) / Math.abs(before);
}

function measured(options: BenchResult['options']): BenchResult['options'] {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OUTPUT_OPTIONS.includes(name)));
}

function differences(
  what: string,
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => before[name] !== after[name])
    .map((name) => `${what} ${name} differs: ${before[name] ?? '(none)'} and ${after[name] ?? '(none)'}`);
}
