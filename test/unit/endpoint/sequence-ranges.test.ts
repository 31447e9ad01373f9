import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SequenceRanges } from '../../../src/endpoint/sequence-ranges.ts';

const HIGHEST = 60;

type Step =
  | { do: 'add'; from: number; to: number }
  | { do: 'addIfRoom'; seq: number }
  | { do: 'dropBelow'; seq: number };

const seq = fc.nat(HIGHEST);
const steps = fc.array(
  fc.oneof(
    fc
      .tuple(seq, fc.nat(8))
      .map(([from, length]): Step => ({ do: 'add', from, to: Math.min(from + length, HIGHEST) })),
    seq.map((seq): Step => ({ do: 'addIfRoom', seq })),
    seq.map((seq): Step => ({ do: 'dropBelow', seq })),
  ),
  { maxLength: 40 },
);

/** The same as a plain set of numbers, whose ranges are counted anew each time. */
class Model {
  readonly numbers = new Set<number>();
  readonly #maxRanges: number;

  constructor(maxRanges: number) {
    this.#maxRanges = maxRanges;
  }

  apply(step: Step): void {
    if (step.do === 'dropBelow') {
      for (const number of this.numbers) if (number < step.seq) this.numbers.delete(number);
    } else if (step.do === 'addIfRoom') {
      this.numbers.add(step.seq);
      if (this.ranges().length > this.#maxRanges) this.numbers.delete(step.seq);
    } else {
      this.#fill(step.from, step.to);
      if (this.ranges().length > this.#maxRanges) this.#bridgeSmallestHole();
    }
  }

  ranges(): [from: number, to: number][] {
    const ranges: [number, number][] = [];
    for (const number of [...this.numbers].sort((a, b) => a - b)) {
      const last = ranges.at(-1);
      if (last?.[1] === number - 1) last[1] = number;
      else ranges.push([number, number]);
    }
    return ranges;
  }

  #bridgeSmallestHole(): void {
    const ranges = this.ranges();
    const holes = ranges.slice(1).map(([from], index) => [ranges[index]![1], from] as const);
    const [from, to] = holes.reduce((a, b) => (b[1] - b[0] < a[1] - a[0] ? b : a));
    this.#fill(from, to);
  }

  #fill(from: number, to: number): void {
    for (let number = from; number <= to; number++) this.numbers.add(number);
  }
}

function apply(ranges: SequenceRanges, step: Step): void {
  if (step.do === 'add') ranges.add(step.from, step.to);
  else if (step.do === 'addIfRoom') ranges.addIfRoom(step.seq);
  else ranges.dropBelow(step.seq);
}

function numbersOf(ranges: SequenceRanges): number[] {
  return Array.from({ length: HIGHEST + 2 }, (_, seq) => seq).filter((seq) => ranges.has(seq));
}

describe('ranges of sequence numbers', () => {
  test('hold what a set of numbers holds, with few ranges allowed and with many', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.constant(100)), steps, (maxRanges, steps) => {
        const ranges = new SequenceRanges(maxRanges);
        const model = new Model(maxRanges);
        for (const step of steps) {
          apply(ranges, step);
          model.apply(step);
          expect(numbersOf(ranges)).toEqual([...model.numbers].sort((a, b) => a - b));
          expect(ranges.count).toBe(model.ranges().length);
        }
        for (const [from, to] of model.ranges()) {
          for (let seq = from; seq <= to; seq++) expect(ranges.endOfRangeAt(seq)).toBe(to);
          expect(ranges.endOfRangeAt(to + 1)).toBeUndefined();
        }
      }),
      { numRuns: 300 },
    );
  });

  test('never forget what was added, and never grow past their bound', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), steps, (maxRanges, steps) => {
        const ranges = new SequenceRanges(maxRanges);
        const added = new Set<number>();
        for (const step of steps) {
          if (step.do !== 'add') continue;
          apply(ranges, step);
          for (let seq = step.from; seq <= step.to; seq++) added.add(seq);
          expect(ranges.count).toBeLessThanOrEqual(maxRanges);
        }
        for (const seq of added) expect(ranges.has(seq)).toBe(true);
      }),
    );
  });

  test('at the bound bridge the smallest hole', () => {
    const ranges = new SequenceRanges(3);
    for (const seq of [0, 10, 13, 20]) ranges.add(seq, seq);
    expect(numbersOf(ranges)).toEqual([0, 10, 11, 12, 13, 20]);
    expect(ranges.count).toBe(3);
  });

  test('at the bound leave out a number that touches no range', () => {
    const ranges = new SequenceRanges(2);
    for (const seq of [5, 10, 15, 11, 9, 6]) ranges.addIfRoom(seq);
    expect(numbersOf(ranges)).toEqual([5, 6, 9, 10, 11]);
  });

  test('take numbers as large as integers go', () => {
    const ranges = new SequenceRanges(2);
    const largest = Number.MAX_SAFE_INTEGER;
    ranges.add(0, 5);
    ranges.addIfRoom(largest - 1);
    ranges.addIfRoom(largest);
    expect(ranges.count).toBe(2);
    expect(ranges.endOfRangeAt(largest - 1)).toBe(largest);
    expect(ranges.has(largest - 2)).toBe(false);
  });
});
