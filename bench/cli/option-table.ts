import { parseDurationMs } from '../../src/config/units.ts';

/**
 * What options a scenario takes, as a table that parsing, defaults and `--help` are made of. Pure.
 *
 * A key `lineBytes` is the option `--line-bytes`. Values are `--name VALUE` or `--name=VALUE`; a flag stands alone.
 */
interface Described {
  /** One sentence. */
  readonly help: string;
}

interface NumberOption extends Described {
  /** `count`: a whole number; `share`: from 0 to 1; `duration`: seconds, or with a unit: 500ms, 30s, 5m, 1h. */
  readonly kind: 'count' | 'number' | 'share' | 'duration';
  readonly default: number;
  readonly min?: number;
  readonly unit?: string;
}

interface TextOption extends Described {
  readonly kind: 'text';
  readonly default?: string;
  /** What a value looks like, in capitals. */
  readonly shape: string;
}

interface ChoiceOption<C extends string = string> extends Described {
  readonly kind: 'choice';
  readonly choices: readonly C[];
  readonly default: NoInfer<C>;
}

/** May be given several times, and each time several values with commas between them, unless it is `whole`. */
interface ListOption extends Described {
  readonly kind: 'list';
  readonly shape: string;
  readonly whole?: true;
  readonly choices?: readonly string[];
  readonly default: readonly string[];
}

interface FlagOption extends Described {
  readonly kind: 'flag';
}

export type Option = NumberOption | TextOption | ChoiceOption | ListOption | FlagOption;
export type OptionTable = Readonly<Record<string, Option>>;

export type ValueOf<O extends Option> = O extends NumberOption
  ? number
  : O extends { kind: 'text'; default: string }
    ? string
    : O extends TextOption
      ? string | undefined
      : O extends ChoiceOption<infer C>
        ? C
        : O extends ListOption
          ? readonly string[]
          : boolean;

export type Values<T extends OptionTable> = { readonly [K in keyof T]: ValueOf<T[K]> };

/** What was typed cannot be meant; the message is one line that names option, value and expectation. */
export class UsageError extends Error {
  readonly exitCode = 64;
}

/**
 * The values of all options, defaults included.
 * @throws UsageError
 */
export function parseOptions<T extends OptionTable>(table: T, args: readonly string[]): Values<T> {
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) values[key] = initial(option);
  const keys = new Map(Object.keys(table).map((key) => [optionName(key), key]));
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const [name, attached] = split(arg);
    const key = keys.get(name);
    if (key === undefined) throw new UsageError(unknownOption(arg, name, [...keys.keys()]));
    const option = table[key]!;
    if (option.kind === 'flag') {
      if (attached !== undefined) throw new UsageError(`${name} takes no value, not ${shown(attached)}`);
      values[key] = true;
      continue;
    }
    const text = attached ?? rest.shift();
    if (text === undefined) throw new UsageError(`${name} needs a value: expected ${expectation(option)}`);
    const value = parseValue(option, text);
    if (value === undefined)
      throw new UsageError(`${name}: ${shown(text)} is not possible; expected ${expectation(option)}`);
    const given = option.kind === 'list' && values[key] !== option.default;
    values[key] = given ? [...(values[key] as string[]), ...(value as string[])] : value;
  }
  return values as Values<T>;
}

/** A list's default is kept by identity, so that the first value given takes its place. */
function initial(option: Option): unknown {
  return option.kind === 'flag' ? false : option.default;
}

function split(arg: string): [string, string | undefined] {
  const at = arg.startsWith('--') ? arg.indexOf('=') : -1;
  return at === -1 ? [arg, undefined] : [arg.slice(0, at), arg.slice(at + 1)];
}

function parseValue(option: Exclude<Option, FlagOption>, text: string): unknown {
  switch (option.kind) {
    case 'text':
      return text === '' ? undefined : text;
    case 'choice':
      return option.choices.includes(text) ? text : undefined;
    case 'list': {
      const items = (option.whole ? [text] : text.split(',')).filter((item) => item !== '');
      const { choices } = option;
      const possible = choices === undefined || items.every((item) => choices.includes(item));
      return items.length > 0 && possible ? items : undefined;
    }
    default:
      return parseNumber(option, text);
  }
}

function parseNumber(option: NumberOption, text: string): number | undefined {
  const value = option.kind === 'duration' ? seconds(text) : /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value) || value < (option.min ?? 0)) return undefined;
  if (option.kind === 'count' && !Number.isSafeInteger(value)) return undefined;
  return option.kind === 'share' && value > 1 ? undefined : value;
}

/** A bare number is seconds. */
function seconds(text: string): number {
  const ms = parseDurationMs(/^[\d.]+$/.test(text) ? `${text}s` : text);
  return ms === undefined ? NaN : ms / 1_000;
}

/** `lineBytes` → `--line-bytes` */
export function optionName(key: string): string {
  return `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What a value must look like, as the end of a sentence. */
function expectation(option: Exclude<Option, FlagOption>): string {
  switch (option.kind) {
    case 'text':
      return option.shape;
    case 'choice':
      return `one of ${option.choices.join(', ')}`;
    case 'list':
      return option.choices === undefined ? option.shape : `some of ${option.choices.join(', ')}`;
    case 'share':
      return 'a number from 0 to 1';
    case 'duration':
      return `a time in seconds, or with a unit (500ms, 30s, 5m, 1h)${atLeast(option, ' s')}`;
    default:
      return `${option.kind === 'count' ? 'a whole number' : 'a number'}${atLeast(option, '')}`;
  }
}

function atLeast({ min }: NumberOption, unit: string): string {
  return min === undefined ? '' : `, at least ${min}${unit}`;
}

function unknownOption(arg: string, name: string, known: readonly string[]): string {
  if (!arg.startsWith('--')) return `${shown(arg)} is not an option; expected --name value`;
  const similar = known.filter((other) => other.startsWith(name.slice(0, 5)));
  const expected = similar.length > 0 ? similar : known;
  return `unknown option ${name}; expected one of ${expected.join(', ')}`;
}

const SHOWN_CHARACTERS = 60;

function shown(text: string): string {
  return `"${text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text}"`;
}

/** The options, one a paragraph, with shape, unit and default. */
export function optionsHelp(table: OptionTable): string {
  return Object.entries(table)
    .map(
      ([key, option]) => `  ${`${optionName(key)} ${shapeOf(option)}`.trimEnd()}\n      ${describe(option)}`,
    )
    .join('\n');
}

function shapeOf(option: Option): string {
  switch (option.kind) {
    case 'flag':
      return '';
    case 'choice':
      return option.choices.join('|');
    case 'text':
    case 'list':
      return option.shape;
    case 'duration':
      return 'TIME';
    default:
      return 'N';
  }
}

function describe(option: Option): string {
  const facts: string[] = [];
  if ('unit' in option && option.unit !== undefined) facts.push(`in ${option.unit}`);
  if (option.kind === 'list') {
    if (option.choices !== undefined) facts.push(`of ${option.choices.join(', ')}`);
    if (option.default.length > 0) facts.push(`default ${option.default.join(',')}`);
  } else if (option.kind !== 'flag' && option.default !== undefined) {
    facts.push(`default ${option.default}${option.kind === 'duration' ? ' s' : ''}`);
  }
  return facts.length === 0 ? option.help : `${option.help} (${facts.join('; ')})`;
}

/** The values as a result keeps them: what was not given and has no default is left out. */
export function plainValues(
  values: Readonly<Record<string, unknown>>,
): Record<string, string | number | boolean> {
  const plain: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(values)) {
    if (Array.isArray(value)) plain[key] = value.join(',');
    else if (value !== undefined) plain[key] = value as string | number | boolean;
  }
  return plain;
}
