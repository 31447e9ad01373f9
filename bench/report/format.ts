/** How figures are written for people: three significant digits, a scale that fits, a unit that reads. */

export interface Scale {
  /** The unit as it is shown; empty for a ratio. */
  readonly label: string;
  /** What a value is divided by. */
  readonly divisor: number;
}

/** Steps of a unit, rising: from `from` on, a value is shown in `label`. */
const STEPS: Readonly<Record<string, readonly { from: number; divisor: number; label: string }[]>> = {
  B: [
    { from: 0, divisor: 1, label: 'B' },
    { from: 2 ** 10, divisor: 2 ** 10, label: 'KiB' },
    { from: 2 ** 20, divisor: 2 ** 20, label: 'MiB' },
    { from: 2 ** 30, divisor: 2 ** 30, label: 'GiB' },
  ],
  us: [
    { from: 0, divisor: 1, label: 'µs' },
    { from: 10_000, divisor: 1_000, label: 'ms' },
    { from: 10_000_000, divisor: 1_000_000, label: 's' },
  ],
  ms: [
    { from: 0, divisor: 1, label: 'ms' },
    { from: 10_000, divisor: 1_000, label: 's' },
  ],
  '1/s': [{ from: 0, divisor: 1, label: '/s' }],
  '1': [{ from: 0, divisor: 1, label: '' }],
};

/** The scale for figures of `unit` that are to be read together. */
export function scaleOf(unit: string, values: Iterable<number>): Scale {
  const [, amount, per] = /^(B|us|ms)(\/.*)$/.exec(unit) ?? [];
  if (amount !== undefined) {
    const { label, divisor } = scaleOf(amount, values);
    return { label: label + per, divisor };
  }
  const steps = STEPS[unit];
  if (steps === undefined) return { label: unit.replaceAll(/[{}]/g, ''), divisor: 1 };
  let largest = 0;
  for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  return steps.findLast(({ from }) => largest >= from)!;
}

export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const magnitude = Math.abs(value);
  if (magnitude >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en-US');
  if (magnitude < 0.001) return value.toExponential(1);
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}

/** `1.23 MiB` */
export function formatFigure(value: number, unit: string): string {
  const { label, divisor } = scaleOf(unit, [value]);
  return withUnit(formatNumber(value / divisor), label);
}

/** What an axis shows: `rtt.p99, ms`; the name alone for a ratio. */
export function labelled(name: string, unitLabel: string): string {
  return unitLabel === '' ? name : `${name}, ${unitLabel}`;
}

export function withUnit(number: string, label: string): string {
  return label === '' ? number : `${number} ${label}`;
}
