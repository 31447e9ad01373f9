import { EventEmitter } from 'node:events';
import type { Channel, ConsumeMessage } from 'amqplib';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { BrokerLink, LinkListener } from '../../../src/broker/broker-link.ts';
import { Consumer } from '../../../src/broker/consumer.ts';
import type { ConsumerSession } from '../../../src/broker/consumer-session.ts';
import { ReplyMemory } from '../../../src/broker/reply-memory.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { silent } from './fake-broker.ts';

const PREFETCH = 100;
const QUIET_MS = 10_000;
const BODY = Buffer.alloc(1_000);

/** A channel whose broker counts a prefetch for each consumer, as RabbitMQ does. */
class ConsumingChannel extends EventEmitter {
  #deliver: ((message: ConsumeMessage | null) => void) | undefined;
  #consumerTag: string | undefined;
  #lastTag = 0;
  /** Delivery tags that are not settled, with their consumer. */
  readonly open = new Map<number, string>();
  /** Messages that wait in the queue. */
  waiting = 0;
  subscriptions = 0;

  async prefetch(): Promise<void> {}

  async consume(
    _queue: string,
    onMessage: (message: ConsumeMessage | null) => void,
    { consumerTag }: { consumerTag: string },
  ): Promise<void> {
    if (this.#consumerTag !== undefined) throw new Error('two consumers at a time');
    this.subscriptions++;
    this.#consumerTag = consumerTag;
    this.#deliver = onMessage;
    setImmediate(() => this.#pump());
  }

  /** The broker answers no more. */
  hangs = false;

  async cancel(consumerTag: string): Promise<void> {
    if (this.hangs) await new Promise(() => {});
    if (consumerTag === this.#consumerTag) this.#consumerTag = undefined;
  }

  ack({ fields: { deliveryTag } }: ConsumeMessage, multiple: boolean): void {
    if (!this.open.has(deliveryTag)) throw new Error(`406: unknown delivery tag ${deliveryTag}`);
    for (const tag of this.open.keys())
      if (tag === deliveryTag || (multiple && tag < deliveryTag)) this.open.delete(tag);
    this.#pump();
  }

  nack({ fields: { deliveryTag } }: ConsumeMessage): void {
    if (!this.open.delete(deliveryTag)) throw new Error(`406: unknown delivery tag ${deliveryTag}`);
  }

  isOpen = true;

  async close(): Promise<void> {
    this.isOpen = false;
    this.emit('close');
  }

  publish(count: number): void {
    this.waiting += count;
    this.#pump();
  }

  get isSubscribed(): boolean {
    return this.#consumerTag !== undefined;
  }

  #pump(): void {
    const tag = this.#consumerTag;
    while (tag !== undefined && this.waiting > 0) {
      if ([...this.open.values()].filter((each) => each === tag).length === PREFETCH) return;
      this.waiting--;
      this.open.set(++this.#lastTag, tag);
      const fields = { deliveryTag: this.#lastTag, consumerTag: tag };
      this.#deliver!({ fields, properties: {}, content: BODY } as unknown as ConsumeMessage);
    }
  }
}

/** A consumer that is up, and what it has taken. */
async function start(maxHeldBytes: number) {
  const channels: ConsumingChannel[] = [];
  const createChannel = vi.fn(async () => {
    channels.push(new ConsumingChannel());
    return channels.at(-1) as unknown as Channel;
  });
  const prepare = vi.fn(async () => {});
  const listeners: LinkListener[] = [];
  const model = { createChannel };
  const giveUp = vi.fn();
  const link = {
    name: 'consume',
    model,
    listen: (listener: LinkListener) => listeners.push(listener),
    giveUp,
  };
  const aside: number[] = [];
  const taken: { message: ConsumeMessage; session: ConsumerSession }[] = [];
  const consumer = new Consumer(
    link as unknown as BrokerLink,
    {
      name: 'test',
      queue: 'queue',
      prepare,
      prefetch: PREFETCH,
      quietMs: QUIET_MS,
      memory: new ReplyMemory(maxHeldBytes),
      received: (message, session) => taken.push({ message, session }),
      setAside: (count) => aside.push(count),
    },
    new Backoff(0, 0),
    silent,
  );
  await vi.advanceTimersByTimeAsync(1);
  expect(consumer.isUp).toBe(true);
  const settle = async (count: number) => {
    for (const { message, session } of taken.splice(0, count)) session.settled(message);
    await vi.advanceTimersByTimeAsync(1);
  };
  return { channel: channels[0]!, channels, createChannel, prepare, giveUp, consumer, taken, aside, settle };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const AMPLE = 10_000_000;

test('what devices hold is set aside, so that the next ones come, and is acknowledged in the end', async () => {
  const { channel, consumer, taken, settle } = await start(AMPLE);
  channel.publish(450);
  expect(taken).toHaveLength(PREFETCH);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(taken).toHaveLength(450);
  expect(channel.subscriptions).toBe(5);
  expect(consumer.isStuck).toBe(false);
  // Those that came last first, as devices may.
  taken.reverse();
  await settle(50);
  await settle(400);
  expect(channel.open.size).toBe(0);
  channel.publish(PREFETCH + 1);
  expect(taken).toHaveLength(PREFETCH);
});

test('one that is full, but gets on, is left alone', async () => {
  const { channel, settle } = await start(AMPLE);
  channel.publish(10_000);
  for (let turn = 0; turn < 100; turn++) {
    await vi.advanceTimersByTimeAsync(10);
    await settle(PREFETCH);
  }
  expect(channel.subscriptions).toBe(1);
});

test('what waits to be recorded as undelivered is set aside too, what is forwarded is not', async () => {
  const { channel, taken } = await start(AMPLE);
  const crowd = async (to: 'undelivered' | 'forward') => {
    const before = taken.length;
    channel.publish(PREFETCH);
    for (const { message, session } of taken.slice(before)) session.moved(message, 'device', to);
    await vi.advanceTimersByTimeAsync(1_000);
  };
  await crowd('undelivered');
  expect(channel.subscriptions).toBe(2);
  await crowd('forward');
  expect(channel.subscriptions).toBe(2);
});

test('one that can set nothing aside is stuck, until something goes', async () => {
  const { channel, consumer, taken, settle } = await start(300_000);
  channel.publish(1_000);
  await vi.advanceTimersByTimeAsync(100);
  expect(channel.subscriptions).toBe(2);
  expect(taken).toHaveLength(2 * PREFETCH);
  expect(consumer.isStuck).toBe(false);
  await vi.advanceTimersByTimeAsync(500);
  expect(consumer.isStuck).toBe(true);
  await settle(PREFETCH);
  await vi.advanceTimersByTimeAsync(100);
  expect(consumer.isStuck).toBe(false);
  expect(channel.subscriptions).toBe(3);
});

test('a consumer that is cancelled while it sets aside stays cancelled', async () => {
  const { channel, consumer } = await start(AMPLE);
  channel.publish(PREFETCH);
  vi.advanceTimersByTime(25);
  await consumer.cancel();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(channel.isSubscribed).toBe(false);
  expect(channel.subscriptions).toBe(1);
});

test('what was set aside does not count, whatever becomes of it', async () => {
  const { channel, taken, aside } = await start(AMPLE);
  channel.publish(PREFETCH);
  await vi.advanceTimersByTimeAsync(100);
  expect(aside).toEqual([PREFETCH]);
  const { session } = taken[0]!;
  expect(session.crowd).toBe(0);
  channel.publish(10);
  for (const { message } of taken.slice(0, 10)) session.moved(message, 'device', 'undelivered');
  for (const { message } of taken.slice(0, 10)) session.settled(message, 'undelivered');
  for (const { message } of taken.slice(10, 20)) session.givenBack(message, 'device');
  expect(session.crowd).toBe(10);
  await vi.advanceTimersByTimeAsync(1);
  expect(channel.open.size).toBe(PREFETCH - 20 + 10);
});

test('a channel that is lost while the consumer sets aside is replaced by one that sets aside too', async () => {
  const { channel, channels, taken } = await start(AMPLE);
  channel.hangs = true;
  channel.publish(PREFETCH);
  await vi.advanceTimersByTimeAsync(100);
  channel.emit('close');
  await vi.advanceTimersByTimeAsync(100);
  const next = channels[1]!;
  next.publish(2 * PREFETCH);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(taken).toHaveLength(3 * PREFETCH);
  expect(next.subscriptions).toBe(3);
});

test('one that gives way takes nothing for a while, settles what it has, and starts with an empty prefetch', async () => {
  const { channel, consumer, taken, aside, settle } = await start(AMPLE);
  channel.publish(PREFETCH / 2);
  consumer.giveWay(300);
  channel.publish(PREFETCH);
  await vi.advanceTimersByTimeAsync(299);
  expect(channel.isSubscribed).toBe(false);
  await settle(10);
  expect(channel.open.size).toBe(PREFETCH / 2 - 10);
  await vi.advanceTimersByTimeAsync(2);
  expect(aside).toEqual([PREFETCH / 2]);
  expect(taken).toHaveLength(PREFETCH / 2 - 10 + PREFETCH);
});

test('one that could set nothing aside does not give way', async () => {
  const { channel, consumer } = await start(100_000);
  channel.publish(PREFETCH - 30);
  consumer.giveWay(300);
  await vi.advanceTimersByTimeAsync(100);
  expect(channel.isSubscribed).toBe(true);
});

test('a consumer that is cancelled, or loses its channel, while it gives way', async () => {
  const first = await start(AMPLE);
  first.consumer.giveWay(300);
  const cancellation = first.consumer.cancel();
  await vi.advanceTimersByTimeAsync(1_000);
  await cancellation;
  expect(first.channel.isSubscribed).toBe(false);

  const second = await start(AMPLE);
  second.consumer.giveWay(300);
  await vi.advanceTimersByTimeAsync(100);
  void second.channel.close();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(second.channels.map(({ isSubscribed }) => isSubscribed)).toEqual([false, true]);
});

/** Nothing comes for so long that the consumer may start over, and it is asked to. */
async function quiet(consumer: Consumer): Promise<void> {
  await vi.advanceTimersByTimeAsync(QUIET_MS);
  consumer.startOverIfQuiet();
  await vi.advanceTimersByTimeAsync(1);
}

test('one to which nothing comes starts over on a new channel, and is up throughout', async () => {
  const { channel, channels, createChannel, prepare, consumer, taken, settle } = await start(AMPLE);
  channel.publish(1);
  await settle(1);
  const wasUp: boolean[] = [];
  createChannel.mockImplementationOnce(async () => {
    const next = new ConsumingChannel();
    const [consume, close] = [next.consume.bind(next), channel.close.bind(channel)];
    next.consume = async (...args) => {
      wasUp.push(consumer.isUp);
      await consume(...args);
    };
    channel.close = async () => {
      wasUp.push(consumer.isUp);
      await close();
      wasUp.push(consumer.isUp);
    };
    channels.push(next);
    return next as unknown as Channel;
  });
  await quiet(consumer);
  expect(wasUp).toEqual([true, true, true]);
  await quiet(consumer);
  expect(channels.map(({ isOpen }) => isOpen)).toEqual([false, false, true]);
  expect(prepare).toHaveBeenCalledTimes(1);
  channels[2]!.publish(1);
  expect(taken).toHaveLength(1);
});

test('one that takes something now and then keeps its channel', async () => {
  const { channel, channels, consumer, settle } = await start(AMPLE);
  for (let i = 0; i < 20; i++) {
    await vi.advanceTimersByTimeAsync(QUIET_MS - 10);
    consumer.startOverIfQuiet();
    channel.publish(1);
    await settle(1);
  }
  expect(channels).toHaveLength(1);
});

test('one whose deliveries wait for something keeps its channel until they are settled', async () => {
  const { channel, channels, consumer, settle } = await start(AMPLE);
  channel.publish(1);
  await quiet(consumer);
  expect(channels).toHaveLength(1);
  await settle(1);
  expect(channel.open.size).toBe(0);
  await quiet(consumer);
  expect(channels).toHaveLength(2);
});

test('what comes while the consumer is being cancelled to start over keeps its channel', async () => {
  const { channel, channels, consumer, taken } = await start(AMPLE);
  const cancel = channel.cancel.bind(channel);
  channel.cancel = async (consumerTag) => {
    await vi.advanceTimersByTimeAsync(1);
    channel.publish(1);
    await cancel(consumerTag);
  };
  await quiet(consumer);
  expect(taken).toHaveLength(1);
  expect(channels).toHaveLength(1);
  expect(channel.subscriptions).toBe(2);
  expect(channel.isSubscribed).toBe(true);
});

test('a consumer that cannot start over is down until it can, and declares its queue again', async () => {
  const { channels, createChannel, prepare, consumer } = await start(AMPLE);
  createChannel.mockRejectedValueOnce(new Error('no more channels'));
  await vi.advanceTimersByTimeAsync(QUIET_MS);
  consumer.startOverIfQuiet();
  await vi.advanceTimersByTimeAsync(0);
  expect(consumer.isUp).toBe(false);
  await vi.advanceTimersByTimeAsync(100);
  expect(channels.map(({ isOpen }) => isOpen)).toEqual([false, true]);
  expect(consumer.isUp).toBe(true);
  expect(prepare).toHaveBeenCalledTimes(2);
});

test.each(['lost', 'cancelled'])(
  'a consumer whose channel is %s while it opens another has one subscription, or none if it was cancelled',
  async (what) => {
    const { channel, channels, createChannel, consumer } = await start(AMPLE);
    let open!: () => void;
    const mayOpen = new Promise<void>((resolve) => {
      open = resolve;
    });
    createChannel.mockImplementationOnce(async () => {
      await mayOpen;
      channels.push(new ConsumingChannel());
      return channels.at(-1) as unknown as Channel;
    });
    await quiet(consumer);
    const [loses, cancelled] = [what === 'lost', what === 'cancelled'];
    if (loses) void channel.close();
    const cancellation = cancelled ? consumer.cancel() : undefined;
    await vi.advanceTimersByTimeAsync(1_000);
    open();
    await vi.advanceTimersByTimeAsync(1_000);
    await cancellation;
    expect(channels.filter(({ isOpen }) => isOpen)).toHaveLength(1);
    expect(channels.filter(({ isSubscribed }) => isSubscribed)).toHaveLength(cancelled ? 0 : 1);
    expect(consumer.isUp).toBe(true);
  },
);

test('a channel that answers no more is given up', async () => {
  const { channel, channels, consumer } = await start(AMPLE);
  channel.hangs = true;
  await quiet(consumer);
  expect(channels).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200_000);
  expect(channels.map(({ isOpen }) => isOpen)).toEqual([false, true]);
  expect(channels[1]!.isSubscribed).toBe(true);
  await quiet(consumer);
  expect(channels).toHaveLength(3);
});

test('a channel that is never set up costs the connection, which does not answer', async () => {
  const { channel, prepare, giveUp } = await start(AMPLE);
  prepare.mockImplementationOnce(() => new Promise(() => {}));
  void channel.close();
  await vi.advanceTimersByTimeAsync(100_000);
  expect(giveUp).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(giveUp).toHaveBeenCalledTimes(1);
  expect(giveUp.mock.calls[0]![1]).toMatch(/^channel test was not set up within \d+ ms$/);
});
