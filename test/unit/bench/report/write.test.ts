import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UsageError } from '../../../../bench/cli/option-table.ts';
import { checkReport } from '../../../../bench/report/write.ts';

describe('the look whether a result can be written', () => {
  let dir: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'owsla-write-test-'));
  });

  afterEach(() => rmSync(dir, { recursive: true }));

  test('leaves no trace', () => {
    const json = join(dir, 'old.json');
    writeFileSync(json, 'old');
    checkReport({ json, html: join(dir, 'new.html') });
    checkReport({});
    expect(readdirSync(dir)).toEqual(['old.json']);
    expect(readFileSync(json, 'utf8')).toBe('old');
  });

  test('names the option and the file that cannot', () => {
    const html = join(dir, 'missing', 'a.html');
    const refused = (why: string) => new UsageError(`${why}; expected a file in a folder that exists`);
    expect(() => checkReport({ html })).toThrow(refused(`--html: ${html} cannot be written (ENOENT)`));
    expect(() => checkReport({ json: dir })).toThrow(refused(`--json: ${dir} cannot be written (EISDIR)`));
  });
});
