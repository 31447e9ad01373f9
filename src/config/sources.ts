import type { ConfigKey } from './keys.ts';

/** Where the effective value of a key comes from. */
export type Source = 'default' | 'file' | 'env' | 'flag';

/** The source of every key, by path. */
export type Sources = Readonly<Record<string, Source>>;

/** One value as it was given, not yet validated. */
export interface Setting {
  readonly key: ConfigKey;
  readonly value: unknown;
  readonly source: Source;
  /** Exact place, for an error: `owsla.yaml:3`, `OWSLA_LISTEN_PORT`, `--listen.port`. */
  readonly origin: string;
}

/** What one source yields: the settings it holds, and one line for each thing that is wrong with it. */
export interface Reading {
  readonly settings: readonly Setting[];
  readonly problems: readonly string[];
}

/** The place to look for a key's value, when only its source is known. */
export function originOf(key: ConfigKey, source: Source): string {
  if (source === 'env') return key.env;
  if (source === 'flag') return key.flag;
  return source === 'file' ? 'configuration file' : 'default';
}
