import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Resequencer, type ResequencerLimits, type Verdict } from '../../../src/endpoint/resequencer.ts';

/** A numbered item; `copy` tells several with one number apart. */
interface Item {
  readonly seq: number;
  readonly copy: number;
  readonly heldBytes: number;
}

const AMPLE: ResequencerLimits = { maxParked: 1_000_000, maxParkedBytes: 1_000_000, maxAhead: 1_000_000 };

function item(seq: number, heldBytes = 1, copy = 0): Item {
  return { seq, copy, heldBytes };
}

/** Plays the caller: offers an item and takes what has become ready. */
function offer(resequencer: Resequencer<Item>, offered: Item, delivered: Item[]): Verdict {
  const verdict = resequencer.offer(offered.seq, offered);
  if (verdict === 'next') delivered.push(offered);
  takeReady(resequencer, delivered);
  return verdict;
}

/** Plays the caller whose gap timer fires. */
function skipGap(resequencer: Resequencer<Item>, delivered: Item[]): number[] {
  const gap = resequencer.skipGap();
  takeReady(resequencer, delivered);
  return gap === undefined ? [] : numbers(gap.fromSeq, gap.toSeq);
}

function takeReady(resequencer: Resequencer<Item>, delivered: Item[]): void {
  for (let ready = resequencer.takeReady(); ready !== undefined; ready = resequencer.takeReady()) {
    delivered.push(ready);
  }
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

const seqs = (items: readonly Item[]) => items.map(({ seq }) => seq);

/** The numbers from 0 on, each at least once, some several times, in any order. */
const shuffledWithCopies = fc
  .array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 60 })
  .map((copies) => copies.flatMap((count, seq) => Array<number>(count).fill(seq)))
  .chain((all) => fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length }));

describe('replies that come in any order, with copies', () => {
  test('leave in order, each once', () => {
    fc.assert(
      fc.property(shuffledWithCopies, (arrivals) => {
        const resequencer = new Resequencer<Item>(AMPLE);
        const delivered: Item[] = [];
        const seen = new Set<number>();
        for (const seq of arrivals) {
          const verdict = offer(resequencer, item(seq), delivered);
          expect(['duplicate', 'duplicate_parked'].includes(verdict)).toBe(seen.has(seq));
          seen.add(seq);
        }
        expect(seqs(delivered)).toEqual(numbers(0, Math.max(...arrivals)));
        expect(resequencer).toMatchObject({ parkedCount: 0, parkedBytes: 0, hasGap: false });
      }),
    );
  });

  test('leave without those that are lost, and exactly those are given up', () => {
    fc.assert(
      fc.property(shuffledWithCopies, fc.array(fc.nat(60)), (arrivals, lost) => {
        const resequencer = new Resequencer<Item>(AMPLE);
        const delivered: Item[] = [];
        const present = arrivals.filter((seq) => !lost.includes(seq));
        for (const seq of present) offer(resequencer, item(seq), delivered);
        const givenUp: number[] = [];
        while (resequencer.hasGap) givenUp.push(...skipGap(resequencer, delivered));

        const last = Math.max(-1, ...present);
        expect(seqs(delivered)).toEqual(numbers(0, last).filter((seq) => !lost.includes(seq)));
        expect(givenUp).toEqual(numbers(0, last).filter((seq) => lost.includes(seq)));
        for (const seq of givenUp) expect(offer(resequencer, item(seq), delivered)).toBe('stale');
        for (const seq of present) expect(offer(resequencer, item(seq), delivered)).toBe('duplicate');
      }),
    );
  });

  test('wait at most for the first that is missing when the timer fires', () => {
    const resequencer = new Resequencer<Item>(AMPLE);
    const delivered: Item[] = [];
    for (const seq of [2, 3, 7]) offer(resequencer, item(seq), delivered);
    expect(resequencer.skipGap()).toEqual({ fromSeq: 0, toSeq: 1 });
    expect(resequencer.nextSeq).toBe(2);
    takeReady(resequencer, delivered);
    expect(seqs(delivered)).toEqual([2, 3]);
    expect(resequencer.skipGap()).toEqual({ fromSeq: 4, toSeq: 6 });
    takeReady(resequencer, delivered);
    expect(seqs(delivered)).toEqual([2, 3, 7]);
    expect(resequencer.skipGap()).toBeUndefined();
    expect(resequencer.nextSeq).toBe(8);
  });
});

type Step =
  | { do: 'offer'; seq: number; bytes: number }
  | { do: 'skipGap' }
  | { do: 'replace'; seq: number; bytes: number }
  | { do: 'drain' };

function stepsWith(seq: fc.Arbitrary<number>): fc.Arbitrary<Step[]> {
  const numbered = { seq, bytes: fc.nat(5) };
  return fc.array(
    fc.oneof(
      { weight: 20, arbitrary: fc.record({ do: fc.constant('offer' as const), ...numbered }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('skipGap' as const) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('replace' as const), ...numbered }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const) }) },
    ),
    { maxLength: 120, size: 'max' },
  );
}

/** Slow and simple: remembers what became of every number. */
class Model {
  next = 0;
  readonly parked = new Map<number, Item>();
  readonly fates = new Map<number, 'delivered' | 'given up'>();
  readonly #limits: ResequencerLimits;

  constructor(limits: ResequencerLimits) {
    this.#limits = limits;
  }

  get parkedBytes(): number {
    return [...this.parked.values()].reduce((sum, { heldBytes }) => sum + heldBytes, 0);
  }

  offer(offered: Item, delivered: Item[]): Verdict {
    const { seq } = offered;
    const fate = this.fates.get(seq);
    if (fate !== undefined) return fate === 'delivered' ? 'duplicate' : 'stale';
    if (seq === this.next) {
      this.#deliver(offered, delivered);
      return 'next';
    }
    if (this.parked.has(seq)) return 'duplicate_parked';
    const { maxParked, maxParkedBytes, maxAhead } = this.#limits;
    const room =
      this.parked.size < maxParked &&
      this.parkedBytes + offered.heldBytes <= maxParkedBytes &&
      seq - this.next <= maxAhead;
    if (!room) {
      this.fates.set(seq, 'given up');
      return 'overflow';
    }
    this.parked.set(seq, offered);
    return 'parked';
  }

  skipGap(delivered: Item[]): number[] {
    if (this.parked.size === 0) return [];
    const gap = numbers(this.next, Math.min(...this.parked.keys()) - 1);
    for (const seq of gap) this.fates.set(seq, 'given up');
    this.#passOn(delivered);
    return gap;
  }

  replace(newer: Item): Item | undefined {
    const older = this.parked.get(newer.seq);
    if (older === undefined) return undefined;
    if (this.parkedBytes - older.heldBytes + newer.heldBytes > this.#limits.maxParkedBytes) return newer;
    this.parked.set(newer.seq, newer);
    return older;
  }

  drain(): Item[] {
    const drained = [...this.parked.values()].sort((a, b) => a.seq - b.seq);
    this.parked.clear();
    return drained;
  }

  #deliver(item: Item, delivered: Item[]): void {
    delivered.push(item);
    this.fates.set(item.seq, 'delivered');
    this.#passOn(delivered);
  }

  #passOn(delivered: Item[]): void {
    while (this.fates.has(this.next)) this.next++;
    const ready = this.parked.get(this.next);
    if (ready === undefined) return;
    this.parked.delete(this.next);
    this.#deliver(ready, delivered);
  }
}

const tight: fc.Arbitrary<ResequencerLimits> = fc.record({
  maxParked: fc.integer({ min: 1, max: 8 }),
  maxParkedBytes: fc.integer({ min: 1, max: 20 }),
  maxAhead: fc.integer({ min: 1, max: 40 }),
});

describe('a resequencer with little room', () => {
  // Up to 50 numbers cannot make more than the 32 ranges that are remembered exactly.
  test('does what a model does that forgets nothing', () => {
    fc.assert(
      fc.property(tight, stepsWith(fc.oneof(fc.nat(12), fc.nat(50))), (limits, steps) => {
        const resequencer = new Resequencer<Item>(limits);
        const model = new Model(limits);
        const delivered: Item[] = [];
        const expected: Item[] = [];
        for (const [copy, step] of steps.entries()) {
          if (step.do === 'offer') {
            const offered = item(step.seq, step.bytes, copy);
            expect(offer(resequencer, offered, delivered)).toBe(model.offer(offered, expected));
          } else if (step.do === 'skipGap') {
            expect(skipGap(resequencer, delivered)).toEqual(model.skipGap(expected));
          } else if (step.do === 'replace') {
            const newer = item(step.seq, step.bytes, copy);
            expect(resequencer.replaceParked(step.seq, newer)).toBe(model.replace(newer));
          } else {
            expect(resequencer.drain()).toEqual(model.drain());
          }
          expect(delivered).toEqual(expected);
          expect(resequencer).toMatchObject({
            nextSeq: model.next,
            parkedCount: model.parked.size,
            parkedBytes: model.parkedBytes,
            hasGap: model.parked.size > 0,
          });
        }
      }),
      { numRuns: 250 },
    );
  });

  test('gives every item one fate, keeps the order and its bounds, whatever the numbers are', () => {
    const anySeq = fc.oneof(
      fc.nat(200),
      fc.nat(100_000),
      fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1),
    );
    fc.assert(
      fc.property(tight, stepsWith(anySeq), (limits, steps) => {
        const resequencer = new Resequencer<Item>(limits);
        const delivered: Item[] = [];
        const fates = new Map<number, Verdict | 'drained'>();
        for (const [copy, step] of steps.entries()) {
          if (step.do === 'offer') {
            const verdict = offer(resequencer, item(step.seq, step.bytes, copy), delivered);
            fates.set(copy, verdict);
          } else if (step.do === 'skipGap') {
            const next = resequencer.nextSeq;
            const gap = skipGap(resequencer, delivered);
            if (gap.length > 0) expect(gap[0]).toBe(next);
          } else if (step.do === 'drain') {
            for (const drained of resequencer.drain()) {
              expect(fates.get(drained.copy)).toBe('parked');
              fates.set(drained.copy, 'drained');
            }
          }
          expect(resequencer.parkedCount).toBeLessThanOrEqual(limits.maxParked);
          expect(resequencer.parkedBytes).toBeLessThanOrEqual(limits.maxParkedBytes);
        }
        for (const { copy } of delivered) expect(fates.get(copy)).toMatch(/^(next|parked)$/);
        const stillParked = resequencer.drain();
        const parked = [...fates].filter(([, fate]) => fate === 'parked').map(([copy]) => copy);
        const settled = [...delivered, ...stillParked].map(({ copy }) => copy);
        expect(new Set(settled).size).toBe(settled.length);
        expect(parked.every((copy) => settled.includes(copy))).toBe(true);
        for (const [index, { seq }] of delivered.entries())
          if (index > 0) expect(seq).toBeGreaterThan(delivered[index - 1]!.seq);
      }),
    );
  });

  test('goes on behind refused numbers without waiting for them', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxParked: 2 });
    const delivered: Item[] = [];
    const verdicts = [2, 1, 3, 4].map((seq) => offer(resequencer, item(seq), delivered));
    expect(verdicts).toEqual(['parked', 'parked', 'overflow', 'overflow']);
    expect(offer(resequencer, item(0), delivered)).toBe('next');
    expect(resequencer.nextSeq).toBe(5);
    expect(offer(resequencer, item(3), delivered)).toBe('stale');
    offer(resequencer, item(5), delivered);
    expect(seqs(delivered)).toEqual([0, 1, 2, 5]);
  });

  test('takes the next number even when there is no room to park', () => {
    const resequencer = new Resequencer<Item>({ maxParked: 1, maxParkedBytes: 10, maxAhead: 5 });
    const delivered: Item[] = [];
    offer(resequencer, item(1, 10), delivered);
    expect(offer(resequencer, item(0, 1_000), delivered)).toBe('next');
    expect(seqs(delivered)).toEqual([0, 1]);
  });

  test('refuses a number that is too far ahead, and one such number does no harm', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxAhead: 100 });
    const delivered: Item[] = [];
    expect(offer(resequencer, item(100), delivered)).toBe('parked');
    expect(offer(resequencer, item(101), delivered)).toBe('overflow');
    expect(offer(resequencer, item(Number.MAX_SAFE_INTEGER), delivered)).toBe('overflow');
    for (const seq of numbers(0, 99)) offer(resequencer, item(seq), delivered);
    expect(seqs(delivered)).toEqual(numbers(0, 100));
    expect(resequencer.nextSeq).toBe(102);
  });

  test('remembers refused numbers however many it has gone past before', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxParked: 1 });
    const delivered: Item[] = [];
    for (let seq = 0; seq < 300; seq += 3) {
      offer(resequencer, item(seq + 1), delivered);
      expect(offer(resequencer, item(seq + 2), delivered)).toBe('overflow');
      offer(resequencer, item(seq), delivered);
      expect(resequencer.nextSeq).toBe(seq + 3);
    }
    expect(delivered).toHaveLength(200);
  });

  test('with more refused numbers than it remembers waits for the forgotten ones, and loses no other', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxParked: 1 });
    const delivered: Item[] = [];
    offer(resequencer, item(1_000), delivered);
    const refused = numbers(1, 100).map((n) => 2 * n);
    for (const seq of refused) expect(offer(resequencer, item(seq), delivered)).toBe('overflow');
    for (const seq of numbers(0, 999)) if (!refused.includes(seq)) offer(resequencer, item(seq), delivered);
    while (resequencer.hasGap) skipGap(resequencer, delivered);
    const verdicts = new Set(refused.map((seq) => offer(resequencer, item(seq), delivered)));
    expect(verdicts).toEqual(new Set(['stale']));
    expect(seqs(delivered)).toEqual([...new Set(seqs(delivered))].sort((a, b) => a - b));
  });
});

describe('100,000 early replies', () => {
  const limits = { maxParked: 256, maxParkedBytes: 1_048_576, maxAhead: 65_536 };
  const early = numbers(1, 100_000);

  test.each([
    ['in order', early],
    ['in reverse', [...early].reverse()],
  ])('%s hold the connection up no longer than the missing one does', (_, arrivals) => {
    const resequencer = new Resequencer<Item>(limits);
    const delivered: Item[] = [];
    const verdicts = { parked: 0, overflow: 0 };
    for (const seq of arrivals) {
      verdicts[offer(resequencer, item(seq, 100), delivered) as keyof typeof verdicts]++;
    }
    expect(verdicts).toEqual({ parked: 256, overflow: 99_744 });
    expect(offer(resequencer, item(0), delivered)).toBe('next');
    expect(delivered).toHaveLength(257);
    expect(resequencer).toMatchObject({ nextSeq: 100_001, hasGap: false });
    for (const seq of [50_000, 100_000]) expect(offer(resequencer, item(seq), delivered)).toBe('stale');
    expect(offer(resequencer, item(100_001), delivered)).toBe('next');
  });
});

describe('a copy of a parked item', () => {
  test('takes its place, and its bytes are counted instead', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxParkedBytes: 100 });
    const [older, newer] = [item(1, 60, 0), item(1, 70, 1)];
    resequencer.offer(1, older);
    expect(resequencer.offer(1, newer)).toBe('duplicate_parked');
    expect(resequencer.replaceParked(1, newer)).toBe(older);
    expect(resequencer).toMatchObject({ parkedCount: 1, parkedBytes: 70 });
    const delivered: Item[] = [];
    offer(resequencer, item(0), delivered);
    expect(delivered[1]).toBe(newer);
    expect(resequencer.parkedBytes).toBe(0);
  });

  test('is handed back when it is larger and has no room', () => {
    const resequencer = new Resequencer<Item>({ ...AMPLE, maxParkedBytes: 100 });
    const [older, newer] = [item(1, 60, 0), item(1, 101, 1)];
    resequencer.offer(1, older);
    expect(resequencer.replaceParked(1, newer)).toBe(newer);
    expect(resequencer.parkedBytes).toBe(60);
    expect(resequencer.drain()).toEqual([older]);
  });

  test('does nothing where none is parked', () => {
    const resequencer = new Resequencer<Item>(AMPLE);
    expect(resequencer.replaceParked(1, item(1))).toBeUndefined();
    expect(resequencer.hasGap).toBe(false);
  });
});

test('draining takes what is parked in order, and nothing is left to wait for', () => {
  const resequencer = new Resequencer<Item>(AMPLE);
  for (const seq of [9, 3, 7, 5]) resequencer.offer(seq, item(seq, 10));
  expect(seqs(resequencer.drain())).toEqual([3, 5, 7, 9]);
  expect(resequencer).toMatchObject({ parkedCount: 0, parkedBytes: 0, hasGap: false });
  expect(resequencer.drain()).toEqual([]);
  expect(resequencer.skipGap()).toBeUndefined();
});
