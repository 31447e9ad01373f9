import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EventPublisher } from '../../../src/broker/event-publisher.ts';
import type { Topology } from '../../../src/broker/topology.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { FakeLink, silent } from './fake-broker.ts';

const topology = { names: { events: 'events' }, declare: async () => {} } as unknown as Topology;

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

async function connected() {
  const link = new FakeLink();
  const counted = { published: 0, dropped: 0 };
  const observer = {
    eventPublished: () => void counted.published++,
    eventDropped: () => void counted.dropped++,
  };
  const events = new EventPublisher(link.asLink(), topology, new Backoff(0, 0), observer, silent);
  return { events, counted, link, channel: await link.connect() };
}

test('events of a short while leave together, in order', async () => {
  const { events, channel, counted } = await connected();
  events.publish({ event: 'one' });
  vi.advanceTimersByTime(50);
  events.publish({ event: 'two', n: 2 });
  expect(channel.published).toEqual([]);
  vi.advanceTimersByTime(50);
  expect(channel.published.map(({ routingKey, body }) => [routingKey, body])).toEqual([
    ['one', '{"event":"one"}'],
    ['two', '{"event":"two","n":2}'],
  ]);
  channel.ack(2, true);
  expect(counted).toEqual({ published: 2, dropped: 0 });
});

test('waiting until all are confirmed sends what was collected at once', async () => {
  const { events, channel } = await connected();
  events.publish({ event: 'last' });
  const idle = events.idle();
  expect(channel.bodies).toHaveLength(1);
  channel.ack(1);
  await idle;
});

test('while the broker takes none, a bounded number is kept and the rest is counted', async () => {
  const { events, counted, link } = await connected();
  link.block(true);
  for (let n = 0; n < 50_010; n++) {
    if (n % 10_000 === 0) vi.advanceTimersByTime(100);
    events.publish({ event: 'e' });
  }
  expect(counted.dropped).toBe(10);
});

test('one that a queue refuses is offered three times in all, and dropped then; others are not sent again', async () => {
  const { events, counted, link, channel } = await connected();
  events.publish({ event: 'refused' });
  events.publish({ event: 'taken' });
  vi.advanceTimersByTime(100);
  channel.ack(2);
  channel.nack(1);
  for (const dropped of [0, 1]) {
    expect(counted).toEqual({ published: 1, dropped: 0 });
    const next = link.nextChannel();
    vi.advanceTimersByTime(500);
    const again = await next;
    vi.advanceTimersByTime(5_000);
    expect(again.published.map(({ routingKey }) => routingKey)).toEqual(['refused']);
    again.nack(1);
    expect(counted.dropped).toBe(dropped);
  }
});
