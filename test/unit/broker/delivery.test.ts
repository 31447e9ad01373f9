import type { ConsumeMessage } from 'amqplib';
import { describe, expect, test } from 'vitest';
import type { ConsumerSession } from '../../../src/broker/consumer-session.ts';
import { Delivery } from '../../../src/broker/delivery.ts';
import { type ReplyOutcome, UNDELIVERED_REASONS } from '../../../src/reply.ts';

/** A reply that asked for a receipt or did not, and what became of it. */
function settled(outcome: ReplyOutcome, receipt: boolean) {
  const told = {
    acknowledged: 0,
    recorded: [] as string[],
    receipts: [] as string[],
    outcomes: [] as string[],
  };
  const session = { moved: () => {}, settled: () => told.acknowledged++ } as unknown as ConsumerSession;
  const headers = { connection_id: '1f0a7b2e-6b1c-6f00-8000-0badc0de0000', to_device_seq: 7, receipt };
  const message = { content: Buffer.from('reply'), fields: {}, properties: { headers } };
  const delivery = new Delivery(
    message as unknown as ConsumeMessage,
    session,
    { record: (_, reason, detail) => told.recorded.push(`${reason}: ${detail}`) },
    {
      replySettled: (how) => told.outcomes.push(how),
      receiptDue: (_, how, detail) => told.receipts.push(`${how}: ${detail}`),
    },
  );
  delivery.settle(outcome, 'why');
  return told;
}

describe('a reply', () => {
  test.each(UNDELIVERED_REASONS)(
    'that is %s is recorded, its receipt says so, and the ack waits',
    (reason) => {
      const text = `${reason}: why`;
      expect(settled(reason, true)).toEqual({
        acknowledged: 0,
        recorded: [text],
        receipts: [text],
        outcomes: [reason],
      });
      expect(settled(reason, false).receipts).toEqual([]);
    },
  );

  test('that is delivered is acknowledged, and its receipt says so', () => {
    expect(settled('delivered', true)).toMatchObject({
      acknowledged: 1,
      recorded: [],
      receipts: ['delivered: why'],
    });
    expect(settled('delivered', false).receipts).toEqual([]);
  });

  test('that comes again is acknowledged, and has no receipt of its own', () => {
    expect(settled('duplicate', true)).toMatchObject({ acknowledged: 1, recorded: [], receipts: [] });
  });

  test.each([
    ['the broker does not count', undefined, 0],
    ['it came back twice', 2, 2],
    ['a backend has put nonsense there', { valueOf: 7, toString: 7 }, 0],
  ])('knows how often it was given back: %s', (_, count, times) => {
    const content = Buffer.alloc(0);
    const message = {
      content,
      properties: { headers: { 'x-delivery-count': count } },
    } as unknown as ConsumeMessage;
    const [session, undelivered, observer] = [{}, {}, {}] as never[];
    expect(new Delivery(message, session!, undelivered!, observer!).timesGivenBack).toBe(times);
  });
});
