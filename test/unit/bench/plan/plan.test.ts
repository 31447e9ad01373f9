import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { formatDuration } from '../../../../bench/plan/explain.ts';
import { planCommand } from '../../../../bench/plan/plan.ts';
import { benchResult } from '../../../helpers/bench-result.ts';
import { CapturedOutput } from '../../../helpers/captured-output.ts';

describe('bench plan', () => {
  let dir: string;
  let output: CapturedOutput;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'owsla-plan-test-'));
    output = CapturedOutput.begin();
  });

  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(dir, { recursive: true });
  });

  const fleet = ['--devices', '40000', '--rate', '4000'];

  test('prints each number with what it comes from', async () => {
    expect(await planCommand(fleet)).toBe(0);
    const lines = output.stdout.split('\n');
    for (const name of ['gateway processes', 'gateway machines', 'broker nodes', 'from_device shards']) {
      const at = lines.findIndex((line) => line.startsWith(`${name}  `));
      expect(lines[at]).toMatch(/ {2}[1-9]/);
      expect(lines[at + 1]).toMatch(/^ {4}\S/);
    }
    expect(output.stdout).toContain('full reconnect');
    expect(output.stdout).toContain('saturates first');
    expect(output.stdout).not.toMatch(/NaN|Infinity|undefined|–/);
  });

  test('says which costs were measured, and which are assumed', async () => {
    const file = join(dir, 'connect.json');
    writeFileSync(file, JSON.stringify(benchResult({ options: { resume: 0 } })));
    expect(await planCommand([...fleet, '--results', file])).toBe(0);
    expect(output.stdout).toMatch(new RegExp(`^handshake\\.cpu +412 µs +${file}$`, 'm'));
    expect(output.stdout).toMatch(/^line\.cpu +30 µs +assumed \(/m);
    expect(output.stdout).toContain(file);
  });

  test('takes several files after one --results', async () => {
    const files = ['a.json', 'b.json'].map((name) => join(dir, name));
    for (const file of files) writeFileSync(file, JSON.stringify(benchResult({ problems: ['odd'] })));
    expect(await planCommand([...fleet, '--results', ...files])).toBe(0);
    for (const file of files)
      expect(output.stdout).toContain(`warning: ${file} is of a run with a problem: odd`);
    output.stdout = '';
    expect(await planCommand(['--markdown', '--results', ...files])).toBe(0);
    for (const file of files)
      expect(output.stdout).toContain(`- Warning: ${file} is of a run with a problem: odd.`);
  });

  test('prints the table of the documentation', async () => {
    expect(await planCommand(['--markdown'])).toBe(0);
    expect(output.stdout).toMatch(
      /^\| devices \| 40,000 \| 1,000,000 \| 10,000,000 \| 40,000 \| 1,000,000 \| 10,000,000 \|$/m,
    );
    expect(output.stdout).toContain('of which 11 of 11 are **assumed**');
    const widths = output.stdout
      .split('\n\n')[0]!
      .split('\n')
      .map((row) => row.split('|').length);
    expect(new Set(widths).size).toBe(1);
  });

  test.each([
    ['no devices', ['--rate', '1'], '--devices is missing'],
    ['no rate', ['--devices', '1'], '--rate is missing'],
    [
      'no number',
      ['--devices', 'many', '--rate', '1'],
      '--devices: expected a whole number from 1, got many',
    ],
    ['no device', ['--devices', '0', '--rate', '1'], '--devices: expected a whole number from 1, got 0'],
    ['a negative rate', ['--devices', '1', '--rate=-1'], '--rate: expected a number from 0, got -1'],
    ['a share above one', [...fleet, '--resume', '2'], '--resume: expected a share from 0 to 1, got 2'],
    ['an unknown option', [...fleet, '--nonsense'], '--nonsense'],
    [
      'a file that is not there',
      [...fleet, '--results', '/nowhere/a'],
      '/nowhere/a: cannot be read (ENOENT)',
    ],
    ['a word', [...fleet, 'a.json'], 'unexpected a.json; result files come after --results'],
  ])('ends with 64 and one line for %s', async (_, args, expected) => {
    expect(await planCommand(args)).toBe(64);
    expect(output.stderr).toMatch(/^bench plan: [^\n]+\n$/);
    expect(output.stderr).toContain(expected);
    expect(output.stdout).toBe('');
  });
});

describe('a duration', () => {
  test.each([
    [0.2, '1 s'],
    [119, '119 s'],
    [600, '10 min'],
    [3 * 3600, '3 h'],
    [9_000, '2.5 h'],
  ])('of %d s is written %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});
