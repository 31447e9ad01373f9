import { formatValue } from './format.ts';
import { CONFIG_KEYS, type ConfigKey } from './keys.ts';
import type { LoadedConfig } from './load.ts';
import { maskSecret } from './mask.ts';
import type { Config } from './schema.ts';

/** One aligned line for each key: path, value as an operator would write it, source. Secrets are masked. */
export function printConfig({ config, sources, file }: LoadedConfig): string {
  const rows = CONFIG_KEYS.map((key) => [
    key.path,
    formatValue(key, valueAt(config, key)) ?? '(none)',
    sources[key.path]!,
  ]);
  const width = (column: number) => Math.max(...rows.map((row) => row[column]!.length));
  const [pathWidth, valueWidth] = [width(0), Math.min(width(1), 60)];
  const lines = rows.map(
    ([path, value, source]) => `${path!.padEnd(pathWidth)}  ${value!.padEnd(valueWidth)}  ${source}`,
  );
  return [`configuration file: ${file ?? '(none)'}`, '', ...lines].join('\n');
}

/**
 * The same as JSON: `{ file, keys: { "listen.port": { value, source, env } } }`, with durations in milliseconds and
 * sizes in bytes. Secrets are masked; a key without a value is `null`.
 */
export function printConfigJson({ config, sources, file }: LoadedConfig): string {
  const keys = CONFIG_KEYS.map((key) => {
    const value = valueAt(config, key);
    const shown = (key.secret ? maskSecret(value) : value) ?? null;
    return [key.path, { value: shown, source: sources[key.path], env: key.env }];
  });
  return JSON.stringify({ file: file ?? null, keys: Object.fromEntries(keys) }, null, 2);
}

function valueAt(config: Config, key: ConfigKey): unknown {
  let value: unknown = config;
  for (const part of key.path.split('.')) value = (value as Record<string, unknown>)[part];
  return value;
}
