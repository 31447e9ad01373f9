import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDurationMs, formatSizeBytes, formatValue } from '../../../src/config/format.ts';
import { parseDurationMs, parseSizeBytes } from '../../../src/config/units.ts';

describe('durations', () => {
  it.each([
    ['0', 0],
    ['1500', 1500],
    ['500ms', 500],
    ['30s', 30_000],
    [' 30 s ', 30_000],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
  ])('reads %j as %d ms', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each([
    '',
    's',
    '30 sec',
    '-1s',
    '1s2',
    '1e3',
    '30S',
    '0x10',
    '30KiB',
    '1,5s',
    'constructor',
    '1toString',
  ])('rejects %j', (text) => {
    expect(parseDurationMs(text)).toBeUndefined();
  });

  it('are written so that they read back as the same number', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 31 - 1 }), (ms) => parseDurationMs(formatDurationMs(ms)) === ms),
    );
    fc.assert(
      fc.property(fc.nat({ max: 40_000 }), (s) => parseDurationMs(formatDurationMs(s * 1000)) === s * 1000),
    );
  });

  it('are written in the largest unit that divides them', () => {
    expect([0, 250, 30_000, 90_000, 1_800_000, 7_200_000].map(formatDurationMs)).toEqual([
      '0',
      '250 ms',
      '30 s',
      '90 s',
      '30 m',
      '2 h',
    ]);
  });
});

describe('sizes', () => {
  it.each([
    ['512', 512],
    ['512B', 512],
    ['64KiB', 65_536],
    ['64 KiB', 65_536],
    ['1MiB', 1_048_576],
    ['1GiB', 1_073_741_824],
    ['1kB', 1000],
    ['2MB', 2_000_000],
    ['0.5KiB', 512],
  ])('reads %j as %d bytes', (text, bytes) => {
    expect(parseSizeBytes(text)).toBe(bytes);
  });

  it.each(['', 'KiB', '64kib', '64K', '-1B', '30s', '1 000'])('rejects %j', (text) => {
    expect(parseSizeBytes(text)).toBeUndefined();
  });

  it('are written so that they read back as the same number', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (bytes) => parseSizeBytes(formatSizeBytes(bytes)) === bytes));
    fc.assert(
      fc.property(fc.nat({ max: 4096 }), (n) => parseSizeBytes(formatSizeBytes(n * 1024)) === n * 1024),
    );
  });
});

describe('values', () => {
  const key = (path: string, secret = false) => ({ path, secret });

  it('are written by the unit in the name of their key', () => {
    expect(formatValue(key('a.timeoutMs'), 30_000)).toBe('30 s');
    expect(formatValue(key('a.maxBytes'), 65_536)).toBe('64 KiB');
    expect(formatValue(key('a.count'), 65_536)).toBe('65536');
    expect(formatValue(key('a.name'), 'x')).toBe('x');
    expect(formatValue(key('a.name'), undefined)).toBeUndefined();
  });

  it('are masked when the key may hold a secret', () => {
    expect(formatValue(key('a.url', true), ['amqp://u:p@h1', 'amqp://u:p@h2'])).toBe(
      'amqp://u:***@h1,amqp://u:***@h2',
    );
  });
});
