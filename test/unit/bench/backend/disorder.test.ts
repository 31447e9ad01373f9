import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Disorder } from '../../../../bench/backend/disorder.ts';

describe('Disorder', () => {
  test('lets everything go exactly once, at most `size` at a time', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.integer({ min: 1, max: 20 }), (items, size) => {
        const disorder = new Disorder<number>(size);
        const out: number[] = [];
        for (const item of items) {
          const released = disorder.push(item);
          expect([0, size]).toContain(released.length);
          out.push(...released);
        }
        out.push(...disorder.flush());
        expect(out.sort()).toEqual([...items].sort());
      }),
    );
  });

  test('changes the order', () => {
    const disorder = new Disorder<number>(3, () => 0);
    expect([disorder.push(1), disorder.push(2), disorder.push(3)]).toEqual([[], [], [2, 3, 1]]);
  });

  test('a size of 0 or 1 holds nothing', () => {
    expect(new Disorder<number>(0).push(1)).toEqual([1]);
    expect(new Disorder<number>(1).push(1)).toEqual([1]);
  });
});
