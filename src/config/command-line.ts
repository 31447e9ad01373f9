import { KEY_BY_PATH } from './keys.ts';
import { unknownName } from './problem.ts';
import type { Reading, Setting } from './sources.ts';

/** Flags that take no value. */
export const SWITCHES: readonly string[] = ['help', 'version', 'json'];

/** Flags that take a value and are not keys of the schema. */
const OTHER_FLAGS: readonly string[] = ['config'];

export interface CommandLine {
  /** Arguments that are no flags, in order: the command. */
  readonly words: readonly string[];
  /** Which of `SWITCHES` were given. */
  readonly switches: ReadonlySet<string>;
  /** `--name=value` and `--name value`, in order; without a value when none followed. */
  readonly flags: readonly { readonly name: string; readonly value: string | undefined }[];
}

/** Splits arguments into words, switches and flags, without judging any of them. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const words: string[] = [];
  const switches = new Set<string>();
  const flags: { name: string; value: string | undefined }[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] === '-h' ? '--help' : argv[i]!;
    if (!argument.startsWith('--')) {
      words.push(argument);
      continue;
    }
    const equals = argument.indexOf('=');
    const name = argument.slice(2, equals < 0 ? undefined : equals);
    if (equals >= 0) flags.push({ name, value: argument.slice(equals + 1) });
    else if (SWITCHES.includes(name)) switches.add(name);
    else if (argv[i + 1] === undefined || argv[i + 1]!.startsWith('--'))
      flags.push({ name, value: undefined });
    else flags.push({ name, value: argv[++i] });
  }
  return { words, switches, flags };
}

/** The settings among the flags, and the file that `--config` names. Of a repeated flag the last one counts. */
export function readFlags(flags: CommandLine['flags']): Reading & { readonly configFile?: string } {
  const settings = new Map<string, Setting>();
  const problems: string[] = [];
  let configFile: string | undefined;
  for (const { name, value } of flags) {
    const key = KEY_BY_PATH.get(name);
    if (key === undefined && !OTHER_FLAGS.includes(name)) {
      problems.push(
        SWITCHES.includes(name)
          ? `--${name} (command line): takes no value`
          : unknownName(`--${name}`, 'command line', flagNames()),
      );
    } else if (value === undefined || (key === undefined && value === '')) {
      const expected = key?.expects ?? 'the path of a YAML file';
      problems.push(`--${name} (command line): has no value; expected ${expected}, as in --${name}=VALUE`);
    } else if (key === undefined) {
      configFile = value;
    } else {
      settings.set(name, { key, value, source: 'flag', origin: `--${name}` });
    }
  }
  return { settings: [...settings.values()], problems, ...(configFile !== undefined && { configFile }) };
}

function flagNames(): string[] {
  return [...KEY_BY_PATH.keys(), ...OTHER_FLAGS, ...SWITCHES].map((name) => `--${name}`);
}
