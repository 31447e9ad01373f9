import { type Document, type ErrorCode, isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { CONFIG_KEYS, KEY_BY_PATH } from './keys.ts';
import { unknownName } from './problem.ts';
import type { Reading, Setting } from './sources.ts';

/**
 * The settings in a YAML file. `name` is what the file is called in problems; the number of a line follows it
 * where one is known.
 */
export function readYaml(text: string, name: string): Reading {
  const lines = new LineCounter();
  // Its warnings quote the file; those that are handed over are not lost.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const problems = faults.map(
      ({ code, message, pos }) =>
        `${name}:${lines.linePos(pos[0]).line}: ${explain(QUOTES_THE_FILE[code] ?? message)}`,
    );
    return problemsOnly([...new Set(problems)]);
  }
  let root: unknown;
  try {
    root = document.toJS();
  } catch (error) {
    return problemsOnly([`${name}: ${explain((error as Error).message)}`]);
  }
  if (root === null || root === undefined) return problemsOnly([]);
  if (!isMapping(root)) {
    return problemsOnly([`${name}: expected a mapping of sections such as "listen:", not ${kindOf(root)}`]);
  }
  const originAt = (path: readonly string[]) => {
    const offset = offsetOf(document, path);
    return offset === undefined ? name : `${name}:${lines.linePos(offset).line}`;
  };
  return collect(root, [], originAt);
}

function collect(
  mapping: Record<string, unknown>,
  parents: readonly string[],
  originAt: (path: readonly string[]) => string,
): Reading {
  const settings: Setting[] = [];
  const problems: string[] = [];
  for (const [name, value] of Object.entries(mapping)) {
    const parts = [...parents, name];
    const path = parts.join('.');
    const key = name.includes('.') ? undefined : KEY_BY_PATH.get(path);
    const origin = originAt(parts);
    if (key !== undefined && value === null) {
      problems.push(`${path} (${origin}): has no value; expected ${key.expects}`);
    } else if (key !== undefined) {
      settings.push({ key, value, source: 'file', origin });
    } else if (!isSection(parts)) {
      problems.push(unknownKey(parts, origin));
    } else if (isMapping(value)) {
      const inner = collect(value, parts, originAt);
      settings.push(...inner.settings);
      problems.push(...inner.problems);
    } else if (value !== null) {
      // The value is not shown: "url:amqp://…" without a space makes the whole section one text.
      problems.push(
        `${path} (${origin}): expected a section of keys, each on its own indented line as "name: value", not ${kindOf(value)}`,
      );
    }
  }
  return { settings, problems };
}

function unknownKey(parts: readonly string[], origin: string): string {
  const path = parts.join('.');
  const [section, name] = path.split('.');
  if (KEY_BY_PATH.has(path) && name !== undefined) {
    return `${path} (${origin}): unknown key; write it as the section "${section}:" with "${name}:" indented below`;
  }
  const sections = CONFIG_KEYS.map((key) => key.section).filter((name) => name !== '');
  return unknownName(path, origin, [...KEY_BY_PATH.keys(), ...new Set(sections)]);
}

function isSection(parts: readonly string[]): boolean {
  return !parts.some((part) => part.includes('.')) && CONFIG_KEYS.some((key) => under(key.path, parts));
}

function under(path: string, parts: readonly string[]): boolean {
  return path.startsWith(`${parts.join('.')}.`);
}

/** What to say instead of what the parser says with a piece of the file in the middle, which may hold a password. */
const QUOTES_THE_FILE: Partial<Record<ErrorCode, string>> = {
  BAD_DIRECTIVE: 'Directive not understood',
  BAD_DQ_ESCAPE: 'Invalid escape sequence',
  TAG_RESOLVE_FAILED: 'Unresolved tag',
};

/** What the parser says, up to a colon: what follows one is a piece of the file as well. */
function explain(message: string): string {
  return `not valid YAML: ${message.split(/[:\n]/, 1)[0]!.replace(/; please use .*/, '')}`;
}

/** Where the key at `path` starts in the text; `undefined` when it came in through an alias. */
function offsetOf(document: Document.Parsed, path: readonly string[]): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const part of path) {
    if (!isMap(node)) return undefined;
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === part);
    if (pair === undefined) return undefined;
    offset = isScalar(pair.key) ? pair.key.range?.[0] : undefined;
    node = pair.value;
  }
  return offset;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'string' ? 'a text' : `a ${typeof value}`;
}

function problemsOnly(problems: readonly string[]): Reading {
  return { settings: [], problems };
}
