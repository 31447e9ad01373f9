import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PublishWindow } from '../../../src/broker/publish-window.ts';

const steps = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constant('push' as const), count: fc.integer({ min: 1, max: 20 }) }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constant('send' as const), count: fc.integer({ min: 1, max: 15 }) }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('confirm' as const),
        tag: fc.nat(40),
        multiple: fc.boolean(),
        pushesMeanwhile: fc.oneof(
          { weight: 9, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.nat(30) },
        ),
      }),
    },
    {
      weight: 1,
      // Most of the time, nothing is dropped.
      arbitrary: fc.record({ do: fc.constant('rewind' as const), dropEvery: fc.nat(9), drop: fc.nat(30) }),
    },
  ),
  { maxLength: 80, size: 'max' },
);

/** Entries are numbers in the order in which they were pushed. */
class Model {
  pushed = 0;
  /** What was sent on this channel: tag t stands for the entry at t - 1. */
  sent: number[] = [];
  readonly sentBefore = new Set<number>();
  readonly confirmed = new Set<number>();

  get unconfirmed(): number[] {
    return Array.from({ length: this.pushed }, (_, entry) => entry).filter((e) => !this.confirmed.has(e));
  }

  get unsent(): number[] {
    return this.unconfirmed.filter((entry) => !this.sent.includes(entry));
  }

  /** The entries that a confirm takes out. */
  confirm(tag: number, multiple: boolean): number[] {
    if (tag > this.sent.length) return [];
    const named = this.sent.slice(multiple ? 0 : Math.max(0, tag - 1), tag);
    const taken = named.filter((entry) => !this.confirmed.has(entry));
    for (const entry of taken) this.confirmed.add(entry);
    return taken;
  }

  /** What is dropped counts as confirmed. */
  rewind(drop: (entry: number) => boolean = () => false): void {
    for (const entry of this.unconfirmed.filter(drop)) this.confirmed.add(entry);
    for (const entry of this.sent) this.sentBefore.add(entry);
    this.sent = [];
  }
}

function sendAll(window: PublishWindow<number>): { entry: number; resend: boolean }[] {
  const sent: { entry: number; resend: boolean }[] = [];
  for (let entry = window.peekUnsent(); entry !== undefined; entry = window.peekUnsent()) {
    sent.push({ entry, resend: window.isResend });
    window.sent();
  }
  return sent;
}

function confirm(window: PublishWindow<number>, tag: number, multiple = false): number[] {
  const confirmed: number[] = [];
  window.confirm(tag, multiple, (entry) => confirmed.push(entry));
  return confirmed;
}

function windowOf(count: number): PublishWindow<number> {
  const window = new PublishWindow<number>();
  for (let entry = 0; entry < count; entry++) window.push(entry);
  return window;
}

describe('the window of unconfirmed messages', () => {
  test('loses nothing and keeps the order, whatever is confirmed and however often it starts over', () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const window = new PublishWindow<number>();
        const model = new Model();
        const push = () => window.push(model.pushed++);
        for (const step of steps) {
          if (step.do === 'push') {
            for (let n = 0; n < step.count; n++) push();
          } else if (step.do === 'send') {
            for (const entry of model.unsent.slice(0, step.count)) {
              expect(window.peekUnsent()).toBe(entry);
              expect(window.isResend).toBe(model.sentBefore.has(entry));
              window.sent();
              model.sent.push(entry);
            }
          } else if (step.do === 'confirm') {
            const expected = model.confirm(step.tag, step.multiple);
            const confirmed: number[] = [];
            window.confirm(step.tag, step.multiple, (entry) => {
              confirmed.push(entry);
              // A source whose frame is confirmed may hand on its next ones at once.
              if (confirmed.length === 1) for (let n = 0; n < step.pushesMeanwhile; n++) push();
            });
            expect(confirmed).toEqual(expected);
          } else {
            const drop = (entry: number) => step.dropEvery > 0 && entry % step.dropEvery === step.drop;
            window.rewind(drop);
            model.rewind(drop);
          }
          expect(window.size).toBe(model.unconfirmed.length);
          expect(window.peekUnsent()).toBe(model.unsent[0]);
          expect(window.hasUnsent).toBe(model.unsent.length > 0);
        }
        window.rewind();
        model.rewind();
        expect(sendAll(window)).toEqual(
          model.unconfirmed.map((entry) => ({ entry, resend: model.sentBefore.has(entry) })),
        );
        expect(confirm(window, model.unconfirmed.length, true)).toEqual(model.unconfirmed);
        expect(window.size).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  test('takes confirms in any order, one by one and many at once', () => {
    const window = windowOf(6);
    sendAll(window);
    expect(confirm(window, 3)).toEqual([2]);
    expect(confirm(window, 1)).toEqual([0]);
    expect(confirm(window, 5, true)).toEqual([1, 3, 4]);
    expect(confirm(window, 6)).toEqual([5]);
    expect(window.size).toBe(0);
  });

  test('ignores a confirm of what was never sent or is confirmed already', () => {
    const window = windowOf(3);
    window.sent();
    expect(confirm(window, 2)).toEqual([]);
    expect(confirm(window, 3, true)).toEqual([]);
    expect(confirm(window, 1)).toEqual([0]);
    expect(confirm(window, 1)).toEqual([]);
    expect(confirm(window, 1, true)).toEqual([]);
    expect(confirm(window, 0)).toEqual([]);
    expect(confirm(window, 0, true)).toEqual([]);
    expect(window.size).toBe(2);
  });

  test('starts over with what is unconfirmed, before what is new, with tags from 1', () => {
    const window = windowOf(5);
    for (let n = 0; n < 4; n++) window.sent();
    confirm(window, 2);
    window.rewind();
    window.push(5);
    expect(sendAll(window)).toEqual([
      { entry: 0, resend: true },
      { entry: 2, resend: true },
      { entry: 3, resend: true },
      { entry: 4, resend: false },
      { entry: 5, resend: false },
    ]);
    expect(confirm(window, 1)).toEqual([0]);
    expect(confirm(window, 4, true)).toEqual([2, 3, 4]);
  });

  test('still knows what an earlier channel has sent when a later one was lost at once', () => {
    const window = windowOf(3);
    sendAll(window);
    window.rewind();
    window.sent();
    window.rewind();
    window.rewind();
    window.push(3);
    expect(sendAll(window).map(({ resend }) => resend)).toEqual([true, true, true, false]);
  });

  test('holds any number of messages, wherever in the ring they begin', () => {
    const window = new PublishWindow<number>();
    let pushed = 0;
    let tag = 0;
    const confirmed: number[] = [];
    for (const count of [10, 17, 1, 1_000, 3, 50_000]) {
      for (let n = 0; n < count; n++) window.push(pushed++);
      tag += sendAll(window).length;
      // All but the last three, so that the next round begins in the middle.
      confirmed.push(...confirm(window, tag - 3, true));
      expect(window.size).toBe(3);
    }
    confirmed.push(...confirm(window, tag, true));
    expect(confirmed).toEqual(Array.from({ length: pushed }, (_, entry) => entry));
  });
});
