import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TimingWheel, type WheelEntry } from '../../../src/util/timing-wheel.ts';

const TICK_MS = 10;
const SLOTS = 8;
const REVOLUTION_MS = TICK_MS * SLOTS;

class Entry implements WheelEntry {
  readonly name: string;
  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  constructor(name: string | number) {
    this.name = String(name);
  }
}

const delay = fc.oneof(fc.nat(REVOLUTION_MS), fc.nat(5 * REVOLUTION_MS), fc.integer({ min: -50, max: 0 }));
const which = fc.nat(9);
const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('arm' as const), which, delay }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('disarm' as const), which }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('sweep' as const),
        pauseMs: fc.oneof({ weight: 5, arbitrary: fc.nat(2 * TICK_MS) }, fc.nat(4 * REVOLUTION_MS)),
      }),
    },
  ),
  { maxLength: 80, size: 'max' },
);

/** What an expiring entry does in turn, to itself or to another. */
const reactions = fc.array(
  fc.record({ do: fc.constantFrom('arm' as const, 'disarm' as const, 'nothing' as const), which, delay }),
  { minLength: 1, maxLength: 10 },
);

test('deadlines fire once, never early, and with the first sweep after their tick', () => {
  fc.assert(
    fc.property(steps, reactions, fc.nat(1_000), (steps, reactions, startMs) => {
      const entries = Array.from({ length: 10 }, (_, n) => new Entry(n));
      /** When each armed entry is due, and the tick with which it must fire at the latest. */
      const armed = new Map<WheelEntry, { dueMs: number; tick: number }>();
      let nowMs = startMs;
      let firings = 0;
      const wheel = new TimingWheel<Entry>(TICK_MS, SLOTS, startMs, (entry, at) => {
        expect(at).toBe(nowMs);
        expect(armed.get(entry)?.dueMs).toBeLessThanOrEqual(nowMs);
        armed.delete(entry);
        apply(reactions[firings++ % reactions.length]!);
      });
      const apply = (step: { do: string; which: number; delay?: number }) => {
        const entry = entries[step.which]!;
        if (step.do === 'arm') {
          const dueMs = nowMs + step.delay!;
          const tick = Math.max(Math.ceil(dueMs / TICK_MS), Math.floor(nowMs / TICK_MS) + 1);
          armed.set(entry, { dueMs, tick });
          wheel.arm(entry, dueMs);
        } else if (step.do === 'disarm') {
          armed.delete(entry);
          wheel.disarm(entry);
        }
      };
      for (const step of steps) {
        if (step.do === 'sweep') {
          nowMs += step.pauseMs;
          wheel.sweep(nowMs);
          const overdue = [...armed.values()].filter(({ tick }) => tick <= Math.floor(nowMs / TICK_MS));
          expect(overdue).toEqual([]);
        } else apply(step);
      }
      for (const entry of entries) expect(entry.wheelSlot !== -1).toBe(armed.has(entry));
    }),
    { numRuns: 400 },
  );
});

describe('a deadline', () => {
  /** A wheel that notes what expires, by name, and then does what the test wants. */
  function wheelAt(startMs: number, react: (entry: Entry, nowMs: number) => void = () => {}) {
    const expired: string[] = [];
    const wheel = new TimingWheel<Entry>(TICK_MS, SLOTS, startMs, (entry, nowMs) => {
      expired.push(entry.name);
      react(entry, nowMs);
    });
    return { wheel, expired };
  }

  test('in the middle of a tick fires with the next one', () => {
    const { wheel, expired } = wheelAt(1_000);
    wheel.arm(new Entry('a'), 1_015);
    wheel.sweep(1_014);
    wheel.sweep(1_019);
    expect(expired).toEqual([]);
    wheel.sweep(1_020);
    expect(expired).toEqual(['a']);
    wheel.sweep(2_000);
    expect(expired).toEqual(['a']);
  });

  test('that has passed when it is set fires with the next tick', () => {
    const { wheel, expired } = wheelAt(1_000);
    wheel.arm(new Entry('a'), 500);
    wheel.sweep(1_009);
    expect(expired).toEqual([]);
    wheel.sweep(1_010);
    expect(expired).toEqual(['a']);
  });

  test('of many revolutions is kept to the tick', () => {
    const { wheel, expired } = wheelAt(0);
    const dueMs = 5 * REVOLUTION_MS + 25;
    wheel.arm(new Entry('a'), dueMs);
    for (let nowMs = 0; nowMs < dueMs; nowMs += TICK_MS) wheel.sweep(nowMs);
    expect(expired).toEqual([]);
    wheel.sweep(dueMs + 5);
    expect(expired).toEqual(['a']);
  });

  test('that passed in a pause of many revolutions fires right after it, and no other does', () => {
    const { wheel, expired } = wheelAt(0);
    for (let n = 1; n <= 20; n++) wheel.arm(new Entry(n), n * REVOLUTION_MS - 5);
    wheel.sweep(10 * REVOLUTION_MS);
    expect(expired.sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 10 }, (_, n) => `${n + 1}`),
    );
  });

  test('that is moved fires at its new time only', () => {
    const { wheel, expired } = wheelAt(0);
    const [earlier, later] = [new Entry('earlier'), new Entry('later')];
    wheel.arm(earlier, 50);
    wheel.arm(later, 20);
    wheel.arm(earlier, 20);
    wheel.arm(later, 50);
    wheel.sweep(20);
    expect(expired).toEqual(['earlier']);
    wheel.sweep(50);
    expect(expired).toEqual(['earlier', 'later']);
  });

  test('that is taken away does not fire, and taking it away twice does nothing', () => {
    const { wheel, expired } = wheelAt(0);
    const entries = ['first', 'middle', 'last'].map((name) => new Entry(name));
    for (const entry of entries) wheel.arm(entry, 20);
    wheel.disarm(entries[1]!);
    wheel.disarm(entries[1]!);
    wheel.sweep(20);
    expect(expired.sort()).toEqual(['first', 'last']);
  });

  test('can be set again when it fires', () => {
    const { wheel, expired } = wheelAt(0, (entry, nowMs) => wheel.arm(entry, nowMs + 30));
    wheel.arm(new Entry('a'), 20);
    for (let nowMs = 0; nowMs <= 110; nowMs += TICK_MS) wheel.sweep(nowMs);
    expect(expired).toEqual(['a', 'a', 'a', 'a']);
  });

  test('can be set for the tick that has begun when it fires after a pause, without end or loss', () => {
    for (const pauseMs of [SLOTS - 1, SLOTS, SLOTS + 1, 3 * SLOTS].map((ticks) => ticks * TICK_MS + 9)) {
      const { wheel, expired } = wheelAt(0, (entry, nowMs) => {
        if (expired.length > 100) throw new Error('fires without end');
        wheel.arm(entry, nowMs - 4);
      });
      wheel.arm(new Entry('a'), TICK_MS);
      wheel.sweep(pauseMs);
      expect(expired).toEqual(['a']);
      wheel.sweep(pauseMs + 1);
      expect(expired).toEqual(['a', 'a']);
    }
  });

  test.each([
    ['of the same tick', 20, 'before'],
    ['of the same tick', 20, 'after'],
    ['of a later revolution in the same slot', 20 + REVOLUTION_MS, 'before'],
    ['of a later revolution in the same slot', 20 + REVOLUTION_MS, 'after'],
  ])('%s (%d) that was set %s another can be taken away when that one fires', (_, dueMs, order) => {
    const [one, other] = [new Entry('one'), new Entry('other')];
    const { wheel, expired } = wheelAt(0, () => {
      wheel.disarm(one);
      wheel.disarm(other);
    });
    if (order === 'before') wheel.arm(other, dueMs);
    wheel.arm(one, 20);
    if (order === 'after') wheel.arm(other, dueMs);
    wheel.sweep(20);
    wheel.sweep(20 + 2 * REVOLUTION_MS);
    expect(expired).toHaveLength(1);
    expect([one.wheelSlot, other.wheelSlot]).toEqual([-1, -1]);
  });

  test('costs the same however many there are', () => {
    const { wheel, expired } = wheelAt(0);
    const entries = Array.from({ length: 40_000 }, (_, n) => new Entry(n));
    for (let round = 0; round < 10; round++) for (const entry of entries) wheel.arm(entry, 1_000 + round);
    for (const entry of entries.slice(1)) wheel.disarm(entry);
    wheel.sweep(2_000);
    expect(expired).toEqual(['0']);
  });
});
