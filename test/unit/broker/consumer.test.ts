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
const CROWDED = 75;
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

  async cancel(consumerTag: string): Promise<void> {
    if (consumerTag === this.#consumerTag) this.#consumerTag = undefined;
  }

  ack({ fields: { deliveryTag } }: ConsumeMessage, multiple: boolean): void {
    if (!this.open.has(deliveryTag)) throw new Error(`406: unknown delivery tag ${deliveryTag}`);
    for (const tag of this.open.keys())
      if (tag === deliveryTag || (multiple && tag < deliveryTag)) this.open.delete(tag);
    this.#pump();
  }

  async close(): Promise<void> {
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
      this.#deliver!({ fields, content: BODY } as unknown as ConsumeMessage);
    }
  }
}

/** A consumer that is up, and what it has taken. */
async function start(maxHeldBytes: number) {
  const channel = new ConsumingChannel();
  const listeners: LinkListener[] = [];
  const model = { createChannel: async () => channel as unknown as Channel };
  const link = { name: 'consume', model, listen: (listener: LinkListener) => listeners.push(listener) };
  const taken: { message: ConsumeMessage; session: ConsumerSession }[] = [];
  const consumer = new Consumer(
    link as unknown as BrokerLink,
    {
      name: 'test',
      queue: 'queue',
      prepare: async () => {},
      prefetch: PREFETCH,
      memory: new ReplyMemory(maxHeldBytes),
      received: (message, session) => taken.push({ message, session }),
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
  return { channel, consumer, taken, settle };
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
  expect(consumer.excess).toBe(0);
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

test('when the memory is full, it says how many devices hold too many', async () => {
  const { channel, consumer, taken, settle } = await start(300_000);
  channel.publish(1_000);
  await vi.advanceTimersByTimeAsync(100);
  expect(channel.subscriptions).toBe(2);
  expect(taken).toHaveLength(2 * PREFETCH);
  expect(consumer.excess).toBe(0);
  await vi.advanceTimersByTimeAsync(500);
  expect(consumer.excess).toBe(PREFETCH - CROWDED);
  // One goes, and there is room again.
  await settle(PREFETCH);
  await vi.advanceTimersByTimeAsync(100);
  expect(consumer.excess).toBe(0);
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
