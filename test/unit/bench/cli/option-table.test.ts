import { describe, expect, test } from 'vitest';
import { optionsHelp, parseOptions, plainValues, UsageError } from '../../../../bench/cli/option-table.ts';

const TABLE = {
  rate: { kind: 'number', default: 10, min: 1, unit: 'lines/s', help: 'How fast.' },
  devices: { kind: 'count', default: 5, min: 1, help: 'How many.' },
  resume: { kind: 'share', default: 0, help: 'Share.' },
  connectTimeout: { kind: 'duration', default: 10, help: 'How long.' },
  target: { kind: 'text', shape: 'HOST:PORT', help: 'Where.' },
  retry: { kind: 'choice', choices: ['none', 'fixed'], default: 'none', help: 'Again?' },
  vs: { kind: 'list', shape: 'PEER', choices: ['nginx', 'bare'], default: [], help: 'Whom.' },
  gateway: { kind: 'list', shape: 'KEY=VALUE', whole: true, default: [], help: 'What.' },
  source: { kind: 'list', shape: 'ADDRESS', default: ['auto'], help: 'From.' },
  ramp: { kind: 'flag', help: 'Look.' },
} as const;

const parse = (...args: string[]) => parseOptions(TABLE, args);

describe('options of the harness', () => {
  test('have their defaults when nothing is typed', () => {
    expect(parse()).toEqual({
      rate: 10,
      devices: 5,
      resume: 0,
      connectTimeout: 10,
      target: undefined,
      retry: 'none',
      vs: [],
      gateway: [],
      source: ['auto'],
      ramp: false,
    });
  });

  test('are read in both forms', () => {
    expect(parse('--rate', '2.5', '--devices=7', '--ramp', '--retry', 'fixed')).toMatchObject({
      rate: 2.5,
      devices: 7,
      ramp: true,
      retry: 'fixed',
    });
  });

  test.each([
    ['500ms', 0.5],
    ['30', 30],
    ['30s', 30],
    ['2m', 120],
    ['1h', 3_600],
  ])('take %s for %d seconds', (text, seconds) => {
    expect(parse('--connect-timeout', text).connectTimeout).toBe(seconds);
  });

  test('collect lists over commas and repetitions, in place of the default', () => {
    expect(parse('--vs', 'nginx,bare').vs).toEqual(['nginx', 'bare']);
    expect(parse('--source', '127.0.0.1', '--source', '127.0.0.2').source).toEqual([
      '127.0.0.1',
      '127.0.0.2',
    ]);
  });

  test('leave commas in a value that is taken whole', () => {
    expect(parse('--gateway', 'A=1,2', '--gateway', 'B=3').gateway).toEqual(['A=1,2', 'B=3']);
  });

  test.each([
    [['--rate', 'fast'], '--rate: "fast" is not possible; expected a number, at least 1'],
    [['--rate', '0'], '--rate: "0" is not possible; expected a number, at least 1'],
    [['--devices', '1.5'], '--devices: "1.5" is not possible; expected a whole number, at least 1'],
    [['--resume', '2'], '--resume: "2" is not possible; expected a number from 0 to 1'],
    [
      ['--connect-timeout', '3x'],
      '--connect-timeout: "3x" is not possible; expected a time in seconds, or with a unit (500ms, 30s, 5m, 1h)',
    ],
    [['--retry', 'often'], '--retry: "often" is not possible; expected one of none, fixed'],
    [['--vs', 'apache'], '--vs: "apache" is not possible; expected some of nginx, bare'],
    [['--devices'], '--devices needs a value: expected a whole number, at least 1'],
    [['--ramp=yes'], '--ramp takes no value, not "yes"'],
    [['--resum', '1'], 'unknown option --resum; expected one of --resume'],
    [['fast'], '"fast" is not an option; expected --name value'],
  ])('%j is one line that names option, value and expectation', (args, message) => {
    expect(() => parse(...args)).toThrow(new UsageError(message));
  });

  test('are all in the help, with units and defaults', () => {
    const help = optionsHelp(TABLE);
    expect(help).toContain('--rate N\n      How fast. (in lines/s; default 10)');
    expect(help).toContain('--connect-timeout TIME\n      How long. (default 10 s)');
    expect(help).toContain('--retry none|fixed');
    expect(help).toContain('--ramp\n');
  });

  test('go into a result as plain values', () => {
    expect(plainValues(parse('--vs', 'nginx,bare'))).toMatchObject({
      vs: 'nginx,bare',
      rate: 10,
      ramp: false,
    });
    expect(plainValues(parse())).not.toHaveProperty('target');
  });
});
