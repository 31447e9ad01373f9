import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatFigure, formatNumber, scaleOf } from '../../../../bench/report/format.ts';

describe('figures for people', () => {
  test('have three significant digits, and whole numbers stay whole', () => {
    expect([0, 7, 0.0004, 0.1234, 12.345, 123.45, 1234.5, 40_000, -2.3456].map(formatNumber)).toEqual([
      '0',
      '7',
      '4.0e-4',
      '0.123',
      '12.3',
      '123',
      '1,235',
      '40,000',
      '-2.35',
    ]);
  });

  test('say nothing where there is no number', () => {
    expect([Number.NaN, Number.POSITIVE_INFINITY].map(formatNumber)).toEqual(['–', '–']);
  });

  test('are shown in a scale that fits', () => {
    expect(formatFigure(31_400, 'B')).toBe('30.7 KiB');
    expect(formatFigure(24 * 2 ** 30, 'B')).toBe('24 GiB');
    expect(formatFigure(412.3, 'us')).toBe('412 µs');
    expect(formatFigure(25_000, 'ms')).toBe('25 s');
    expect(formatFigure(998.7, '1/s')).toBe('999 /s');
    expect(formatFigure(5 * 2 ** 20, 'B/h')).toBe('5 MiB/h');
    expect(formatFigure(1.25, '1')).toBe('1.25');
    expect(formatFigure(3, '{connection}')).toBe('3 connection');
  });

  test('share the scale of the largest of them', () => {
    expect(scaleOf('B', [100, 5_000_000, Number.NaN])).toMatchObject({ label: 'MiB', divisor: 2 ** 20 });
  });

  test('always find a scale', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('B', 'us', 'ms', '1/s', '1', '%'),
        fc.array(fc.double()),
        (unit, values) => {
          expect(scaleOf(unit, values).divisor).toBeGreaterThan(0);
        },
      ),
    );
  });
});
