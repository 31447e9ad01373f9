import { describe, expect, it } from 'vitest';
import { commandHelp, mainHelp, wrap } from '../../../src/config/help.ts';
import { CONFIG_KEYS } from '../../../src/config/keys.ts';

describe('help', () => {
  it('names every key with its flag and environment, in lines of at most 110 columns', () => {
    const lines = mainHelp().split('\n');
    for (const key of CONFIG_KEYS) {
      expect(lines).toContain(`  ${key.flag}`);
      expect(mainHelp()).toContain(`Environment: ${key.env}`);
    }
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(110);
  });

  it('exists for each command, and for "config" as a whole', () => {
    expect(commandHelp('start')).toMatch(/^Usage: owsla start /);
    expect(commandHelp('config print')).toMatch(/^Usage: owsla config print .*\[--json\]/);
    expect(commandHelp('config')?.match(/Usage:/g)).toHaveLength(2);
    expect(commandHelp('nope')).toBeUndefined();
  });
});

describe('wrap', () => {
  it('breaks at spaces and indents every line', () => {
    const lines = wrap('word '.repeat(50).trim(), 6);
    expect(lines.length).toBeGreaterThan(2);
    for (const line of lines) expect(line).toMatch(/^ {6}word.{0,90}$/);
  });

  it('leaves a longer word whole', () => {
    expect(wrap(`a ${'x'.repeat(200)} b`, 0)).toEqual(['a', 'x'.repeat(200), 'b']);
  });
});
