import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { descriptorsPerProcess, processesWithin } from '../../../../bench/peers/descriptors.ts';

describe('descriptors of a peer', () => {
  test('fit one process where they can, and else as many as it takes', () => {
    expect(processesWithin(20_000, 15_000, 1)).toBe(1);
    expect(processesWithin(20_000, 40_000, 1)).toBe(3);
    expect(processesWithin(20_000, 40_000, 2)).toBe(5);
    expect(processesWithin(Number.POSITIVE_INFINITY, 1e9, 2)).toBe(1);
  });

  test('stay within the limit of each process', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 256, max: 1_048_576 }),
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 1, max: 2 }),
        (limit, connections, each) => {
          const processes = processesWithin(limit, connections, each);
          expect(processes).toBeGreaterThan(0);
          expect(descriptorsPerProcess(connections, each, processes)).toBeLessThanOrEqual(limit);
          expect(descriptorsPerProcess(connections, each, processes) * processes).toBeGreaterThan(
            connections * each,
          );
        },
      ),
    );
  });
});
