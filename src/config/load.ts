import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { z } from 'zod';
import { parseCommandLine, readFlags } from './command-line.ts';
import { ConfigError } from './config-error.ts';
import { type Environment, readEnvironment } from './from-environment.ts';
import { readYaml } from './from-file.ts';
import { CONFIG_KEYS, KEY_BY_PATH } from './keys.ts';
import { reasonOf, wrongValue } from './problem.ts';
import { emptiedFile } from './reload.ts';
import { type Config, configSchema } from './schema.ts';
import type { Reading, Setting, Sources } from './sources.ts';

export interface LoadOptions {
  /** Arguments after the program's name; words that are not flags are the caller's business. */
  readonly argv: readonly string[];
  readonly env: Environment;
  /** Reads the configuration file; default: from disk, as UTF-8. */
  readonly readFile?: (path: string) => string;
  /** For a gateway that runs: where its settings come from. Default: none runs. */
  readonly running?: Sources;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly sources: Sources;
  /** The configuration file that was read, if one was named. */
  readonly file: string | undefined;
}

/**
 * The effective configuration: file (`--config`, or `OWSLA_CONFIG`) < environment < flags.
 *
 * Every source is checked in full, also where a stronger one overrides it. Throws `ConfigError` with one line for
 * each unknown key, bad value, and rule between keys that is broken, and for a file that cannot be read or parsed, or
 * that a running gateway has settings from and that holds none any more.
 */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const flags = readFlags(parseCommandLine(options.argv).flags);
  const environment = readEnvironment(options.env);
  const file = flags.configFile ?? options.env.OWSLA_CONFIG;
  const namedBy = flags.configFile === undefined ? 'OWSLA_CONFIG' : '--config';
  const fileReading = readConfigFile(
    file,
    namedBy,
    options.readFile ?? ((path) => readFileSync(path, 'utf8')),
  );
  const emptied = file && emptiedFile(basename(file), fileReading, options.running ?? {});
  // Alone: what else is wrong may well come of it.
  if (emptied) throw new ConfigError([emptied]);

  const readings: readonly Reading[] = [fileReading, environment, flags];
  const problems = readings.flatMap((reading) => reading.problems);
  const effective = new Map<string, Setting>();
  const rejected = new Set<string>();
  for (const setting of readings.flatMap((reading) => reading.settings)) {
    const problem = validate(setting);
    if (problem === undefined) {
      effective.set(setting.key.path, setting);
    } else {
      problems.push(problem);
      rejected.add(setting.key.path);
    }
  }

  const result = configSchema.safeParse(nest(effective.values()));
  if (!result.success) problems.push(...brokenRules(result.error.issues, effective, rejected));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  const sources = CONFIG_KEYS.map(({ path }) => [path, effective.get(path)?.source ?? 'default'] as const);
  return { config: result.data, sources: Object.fromEntries(sources), file };
}

function readConfigFile(
  file: string | undefined,
  namedBy: string,
  readFile: (path: string) => string,
): Reading {
  if (file === undefined) return { settings: [], problems: [] };
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    const reason = `it cannot be read (${reasonOf(error)})`;
    const problem = `${namedBy} = ${JSON.stringify(file)}: expected the path of a readable YAML file; ${reason}`;
    return { settings: [], problems: [problem] };
  }
  return readYaml(text, basename(file));
}

/** One line when the value is not what its key expects. */
function validate({ key, value, origin }: Setting): string | undefined {
  const result = key.schema.safeParse(value);
  if (result.success) return undefined;
  const issue = result.error.issues[0]!;
  // A limit that holds for every key of a kind is not in the words of each.
  const limit = issue.code === 'too_big' && !key.expects.includes(String(issue.maximum));
  const expected = limit ? `${key.expects}; at most ${issue.maximum}` : key.expects;
  const index = typeof issue.path[0] === 'number' ? `; item ${issue.path[0] + 1} is not` : '';
  return wrongValue(key, value, origin, expected + index);
}

/**
 * Rules between keys that are broken. A rule that names a rejected key is left out: it was judged by that key's
 * default, and may well hold once the value is corrected.
 */
function brokenRules(
  issues: readonly z.core.$ZodIssue[],
  effective: ReadonlyMap<string, Setting>,
  rejected: ReadonlySet<string>,
): string[] {
  const problems: string[] = [];
  for (const { path: parts, message } of issues) {
    const path = parts.join('.');
    if ([...rejected].some((name) => path === name || message.includes(name))) continue;
    const key = KEY_BY_PATH.get(path) ?? { path, secret: true, default: undefined };
    const setting = effective.get(path);
    const value = setting?.value ?? key.default;
    problems.push(
      value === undefined
        ? `${path}: not given; expected ${message}`
        : wrongValue(key, value, setting?.origin ?? 'default', message),
    );
  }
  return problems;
}

/** `amqp.url` → `{ amqp: { url } }`. */
function nest(settings: Iterable<Setting>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const { key, value } of settings) {
    const parents = key.path.split('.');
    const name = parents.pop()!;
    let target = root;
    for (const parent of parents) {
      target[parent] ??= {};
      target = target[parent] as Record<string, unknown>;
    }
    target[name] = value;
  }
  return root;
}
