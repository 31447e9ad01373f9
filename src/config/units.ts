/**
 * Durations and sizes as an operator writes them: a bare number in the key's own unit, or a number with a
 * suffix (`30s`, `5m`, `64KiB`). Pure; the schema calls these and turns `undefined` into one clear error.
 */

const DURATION_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Record<string, number> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
};

/** Milliseconds, or `undefined` when the text is not a duration. */
export function parseDurationMs(text: string): number | undefined {
  return parseWithUnit(text, DURATION_MS);
}

/** Bytes, or `undefined` when the text is not a size. */
export function parseSizeBytes(text: string): number | undefined {
  return parseWithUnit(text, SIZE_BYTES);
}

function parseWithUnit(text: string, units: Record<string, number>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim());
  if (match === null) return undefined;
  const [, digits, suffix] = match;
  if (suffix === '') return Number(digits);
  const factor = Object.hasOwn(units, suffix!) ? units[suffix!] : undefined;
  return factor === undefined ? undefined : Math.round(Number(digits) * factor);
}
