import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CONFIG_KEYS } from '../../../src/config/keys.ts';

const root = join(import.meta.dirname, '../../..');
const page = readFileSync(join(root, 'docs/guarantees.md'), 'utf8');

test('the page of guarantees names tests that exist', () => {
  const shown = [...page.matchAll(/\*Shown by\*([^.]+)\./g)].map(([, names]) => names!);
  const rows = page.split('\n').filter((line) => /^\| .* \|$/.test(line) && line.includes('`'));
  const inRows = rows.map((row) => row.split('|').at(-2)!);
  const names = [...shown, ...inRows].flatMap((text) =>
    [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
  );
  expect(shown).toHaveLength(7);
  expect(names.length).toBeGreaterThan(30);
  const fileOf = (name: string) => `${name.includes('/') ? name : `test/integration/${name}`}.test.ts`;
  const missing = names.filter((name) => !existsSync(join(root, fileOf(name))));
  expect(missing).toEqual([]);
});

test('the page of guarantees names keys that exist', () => {
  const paths = new Set(CONFIG_KEYS.map(({ path }) => path));
  const sections = new Set(CONFIG_KEYS.map(({ section }) => section));
  const named = [...page.matchAll(/`(\w+)\.(\w+)`/g)].filter(([, section]) => sections.has(section!));
  expect(named.length).toBeGreaterThan(10);
  expect(named.map(([, section, name]) => `${section}.${name}`).filter((path) => !paths.has(path))).toEqual(
    [],
  );
});
