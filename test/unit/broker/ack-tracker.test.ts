import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Ack, AckTracker } from '../../../src/broker/ack-tracker.ts';

/** The deliveries of one channel as the broker counts them; it closes the channel at an ack it cannot place. */
class BrokerChannel {
  readonly outstanding = new Set<number>();
  #tag = 0;

  deliver(): number {
    this.outstanding.add(++this.#tag);
    return this.#tag;
  }

  takeBack(tag: number): void {
    if (!this.outstanding.delete(tag)) throw new Error(`406: unknown delivery tag ${tag}`);
  }

  acknowledge({ deliveryTag, multiple }: Ack): void {
    if (!this.outstanding.has(deliveryTag)) throw new Error(`406: unknown delivery tag ${deliveryTag}`);
    for (const tag of this.outstanding) {
      if (tag === deliveryTag || (multiple && tag < deliveryTag)) this.outstanding.delete(tag);
    }
  }
}

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('settleTwice' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('giveBack' as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
  ),
  { maxLength: 100, size: 'max' },
);

function trackerWith(delivered: number, settled: number[]): AckTracker {
  const tracker = new AckTracker();
  for (let tag = 1; tag <= delivered; tag++) tracker.delivered(tag);
  for (const tag of settled) tracker.settled(tag);
  return tracker;
}

describe('acknowledgements', () => {
  test('cover exactly what is settled, in whatever order that happens', () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const broker = new BrokerChannel();
        const tracker = new AckTracker();
        const open: number[] = [];
        const flush = () => {
          for (const ack of tracker.flush()) broker.acknowledge(ack);
          expect([...broker.outstanding]).toEqual(open);
          expect(tracker.needsFlush).toBe(false);
        };
        for (const step of steps) {
          if (step.do === 'deliver') {
            const tag = broker.deliver();
            tracker.delivered(tag);
            open.push(tag);
          } else if (step.do === 'flush') {
            flush();
          } else if (open.length > 0) {
            const [tag] = open.splice(step.which % open.length, 1);
            if (step.do === 'giveBack') {
              broker.takeBack(tag!);
              tracker.givenBack(tag!);
              continue;
            }
            tracker.settled(tag!);
            if (step.do === 'settleTwice') tracker.settled(tag!);
            expect(tracker.needsFlush).toBe(true);
          }
        }
        flush();
      }),
      { numRuns: 300 },
    );
  });

  test('of many in a row are one', () => {
    expect(trackerWith(5, [3, 1, 2]).flush()).toEqual([{ deliveryTag: 3, multiple: true }]);
    expect(trackerWith(3, [1, 2, 3]).flush()).toEqual([{ deliveryTag: 3, multiple: true }]);
  });

  test('behind one that is open are single', () => {
    expect(trackerWith(7, [1, 2, 3, 5, 7]).flush()).toEqual([
      { deliveryTag: 5, multiple: false },
      { deliveryTag: 7, multiple: false },
      { deliveryTag: 3, multiple: true },
    ]);
  });

  test('of one alone are not multiple', () => {
    expect(trackerWith(2, [1]).flush()).toEqual([{ deliveryTag: 1, multiple: false }]);
  });

  test('are none when nothing was settled, or what was never delivered', () => {
    expect(trackerWith(2, []).flush()).toEqual([]);
    expect(trackerWith(2, [3, 0]).flush()).toEqual([]);
  });
});
