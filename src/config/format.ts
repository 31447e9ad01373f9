import type { ConfigKey } from './keys.ts';
import { maskSecret } from './mask.ts';

const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

const SIZE_UNITS = [
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
] as const;

/** `30000` → `30 s`: the largest unit that divides it, so that the text parses back to the same number. */
export function formatDurationMs(ms: number): string {
  return withUnit(ms, DURATION_UNITS, 'ms');
}

/** `65536` → `64 KiB`: the largest unit that divides it, so that the text parses back to the same number. */
export function formatSizeBytes(bytes: number): string {
  return withUnit(bytes, SIZE_UNITS, 'B');
}

/**
 * A parsed value as an operator would write it; durations and sizes are known by the unit at the end of the key's
 * name. Secrets are masked; `undefined` when there is no value.
 */
export function formatValue(key: Pick<ConfigKey, 'path' | 'secret'>, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (key.secret) return plain(maskSecret(value));
  if (typeof value === 'number' && key.path.endsWith('Ms')) return formatDurationMs(value);
  if (typeof value === 'number' && /Bytes(PerSecond)?$/.test(key.path)) return formatSizeBytes(value);
  return plain(value);
}

function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(',');
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function withUnit(value: number, units: readonly (readonly [string, number])[], base: string): string {
  if (value === 0) return '0';
  const [suffix, factor] = units.find(([, size]) => value % size === 0) ?? [base, 1];
  return `${value / factor} ${suffix}`;
}
