import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Delivery } from '../../../src/broker/delivery.ts';
import { Forwarder } from '../../../src/broker/forwarder.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { FakeLink, silent } from './fake-broker.ts';

const MAX_GIVE_BACKS = 3;

class FakeDelivery {
  readonly message = { content: Buffer.from('reply'), properties: { headers: {} } };
  readonly timesGivenBack: number;
  fate: 'given back' | 'forwarded' | 'not_connected' | undefined;

  constructor(timesGivenBack = 0) {
    this.timesGivenBack = timesGivenBack;
  }

  detach(): void {}

  forwarding(): void {}

  giveBack(): void {
    this.fate = 'given back';
  }

  forwarded(): void {
    this.fate = 'forwarded';
  }

  settle(outcome: 'not_connected'): void {
    this.fate = outcome;
  }

  asDelivery(): Delivery {
    return this as unknown as Delivery;
  }
}

describe('a reply for another node', () => {
  let link: FakeLink;
  let alarmed: boolean;
  let forwarder: Forwarder;
  let givingBack: ReturnType<typeof vi.fn<() => void>>;
  const forward = (delivery: FakeDelivery) => forwarder.forward(delivery.asDelivery(), '0badc0de');

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    link = new FakeLink();
    alarmed = false;
    givingBack = vi.fn();
    const options = {
      graceMs: 1_000,
      maxRefused: 2,
      maxGiveBacks: MAX_GIVE_BACKS,
      isAlarmed: () => alarmed,
      givingBack,
    };
    forwarder = new Forwarder(link.asLink(), 'inbox.', options, new Backoff(1, 1), silent);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('goes to its inbox, and is acknowledged after the confirm', async () => {
    const channel = await link.connect();
    const delivery = new FakeDelivery();
    forward(delivery);
    expect(channel.published).toMatchObject([{ routingKey: 'inbox.0badc0de', body: 'reply' }]);
    expect(delivery.fate).toBeUndefined();
    channel.ack(1);
    expect(delivery.fate).toBe('forwarded');
  });

  test('that its inbox refuses is offered again on another channel, and those beside it are not sent again', async () => {
    const channel = await link.connect();
    const [before, refused, behind] = [new FakeDelivery(), new FakeDelivery(), new FakeDelivery()];
    for (const delivery of [before, refused, behind]) forward(delivery);
    channel.nack(2);
    channel.ack(3);
    expect([before.fate, refused.fate, behind.fate]).toEqual([undefined, undefined, 'forwarded']);
    // Those on their way are waited for before the channel is replaced.
    const next = link.nextChannel();
    vi.advanceTimersByTime(500);
    channel.ack(1);
    const second = await next;
    expect(before.fate).toBe('forwarded');
    expect(forwarder.isUp).toBe(true);
    expect(channel.closed).toBe(true);
    expect(second.bodies).toEqual([]);
    vi.advanceTimersByTime(500);
    expect(second.bodies).toEqual(['reply']);
    second.ack(1);
    expect(refused.fate).toBe('forwarded');
  });

  test('that its inbox goes on refusing is undelivered in the end, and the next one for it at once', async () => {
    let channel = await link.connect();
    const refused = new FakeDelivery();
    forward(refused);
    for (let ms = 0; refused.fate === undefined && ms < 60_000; ms += 500) {
      const next = link.nextChannel();
      channel.nack(1);
      vi.advanceTimersByTime(500);
      channel = await next;
      vi.advanceTimersByTime(500);
    }
    expect(refused.fate).toBe('not_connected');
    const another = new FakeDelivery();
    forward(another);
    channel.nack(channel.published.length);
    expect(another.fate).toBe('not_connected');
    // Once it takes one, it has the patience again that it had before.
    const [taken, refusedAgain] = [new FakeDelivery(), new FakeDelivery()];
    forward(taken);
    channel.ack(channel.published.length);
    forward(refusedAgain);
    channel.nack(channel.published.length);
    expect([taken.fate, refusedAgain.fate]).toEqual(['forwarded', undefined]);
  });

  test('that its inbox refuses has its fate at once where too many wait for that', async () => {
    const channel = await link.connect();
    const deliveries = Array.from({ length: 3 }, () => new FakeDelivery());
    for (const delivery of deliveries) forward(delivery);
    channel.nack(3, true);
    expect(deliveries.map(({ fate }) => fate)).toEqual([undefined, undefined, 'not_connected']);
  });

  test('is not sent again because its confirm is late and another was refused', async () => {
    const channel = await link.connect();
    const [slow, refused] = [new FakeDelivery(), new FakeDelivery()];
    forward(slow);
    forward(refused);
    channel.nack(2);
    vi.advanceTimersByTime(10_000);
    expect(channel.bodies.length).toBeGreaterThan(2);
    expect(channel.closed).toBe(false);
    channel.ack(1);
    expect(slow.fate).toBe('forwarded');
  });

  test.each([
    ['while the broker blocks the connection', () => link.block(true)],
    [
      'while the broker is in an alarm that this connection has not heard of',
      () => {
        alarmed = true;
      },
    ],
    ['while the connection is lost', () => link.lose()],
  ])('goes back to its queue after a moment %s', async (_, happen) => {
    const channel = await link.connect();
    happen();
    const delivery = new FakeDelivery();
    forward(delivery);
    expect(delivery.fate).toBeUndefined();
    vi.runAllTimers();
    expect(delivery.fate).toBe('given back');
    expect(givingBack).toHaveBeenCalledTimes(1);
    expect(channel.published).toEqual([]);
    expect(forwarder.takes).toBe(false);
  });

  test('is forwarded after all when the alarm was short', async () => {
    const channel = await link.connect();
    alarmed = true;
    const delivery = new FakeDelivery();
    forward(delivery);
    alarmed = false;
    vi.runAllTimers();
    expect(delivery.fate).toBeUndefined();
    expect(givingBack).not.toHaveBeenCalled();
    expect(channel.bodies).toEqual(['reply']);
  });

  test('that went back too often waits, before its queue drops it', async () => {
    const channel = await link.connect();
    link.block(true);
    const delivery = new FakeDelivery(MAX_GIVE_BACKS);
    forward(delivery);
    vi.runAllTimers();
    expect(delivery.fate).toBeUndefined();
    link.block(false);
    expect(channel.bodies).toEqual(['reply']);
  });
});
