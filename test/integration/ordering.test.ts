import type { ConsumeMessage } from 'amqplib';
import { expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { connectFleet } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

const DEVICES = 200;
const LINES = 20;
const BATCH = 50;

test.each([
  { way: 'the shared queue', byReplyTo: false },
  { way: 'reply_to', byReplyTo: true },
])('shuffled replies of many devices reach each in order and once, by $way', async ({ byReplyTo }) => {
  await using gateway = await GatewayProcess.start({ workers: 2 });
  await using backend = await Backend.connect(gateway.names);
  const replies = new Replies(backend, byReplyTo);
  let taken = 0;
  const batch: ConsumeMessage[] = [];
  await backend.consume((message) => {
    batch.push(message);
    taken++;
    if (batch.length < BATCH && taken < DEVICES * LINES) return;
    for (const line of shuffled(batch.splice(0))) replies.answer(line);
  });

  const devices = await connectFleet(gateway.port, DEVICES);
  const line = (device: number, seq: number) => `device ${device} line ${seq}`;
  for (const [index, device] of devices.entries()) {
    for (let seq = 0; seq < LINES; seq++) await device.send(line(index, seq));
  }
  for (const device of devices) await device.received(LINES);
  // Last in order: whatever was delivered twice is before it.
  replies.sayFarewell();
  for (const [index, device] of devices.entries()) {
    const lines = Array.from({ length: LINES }, (_, seq) => line(index, seq));
    expect(await device.received(LINES + 1)).toEqual([...lines, 'farewell']);
  }

  expect(replies.nodes.size).toBe(2);
  expect(replies.outOfOrder).toBeGreaterThan(DEVICES);
  const delivered = () => gateway.metric('owsla_replies_total', { result: 'delivered' });
  await eventually('all delivered', async () => (await delivered()) === DEVICES * (LINES + 1));
  const forwarded = await gateway.metric('owsla_replies_forwarded_total');
  if (byReplyTo) expect(forwarded).toBe(0);
  else expect(forwarded).toBeGreaterThan(0);
  expect(backend.undelivered).toEqual([]);
});

/** Answers lines with themselves, and knows how. */
class Replies {
  /** Node ids in the connection ids. */
  readonly nodes = new Set<string>();
  /** Replies that were published after one of the same connection that comes behind them in order. */
  outOfOrder = 0;
  readonly #backend: Backend;
  readonly #byReplyTo: boolean;
  readonly #connections = new Map<string, { highest: number; replyTo: string }>();

  constructor(backend: Backend, byReplyTo: boolean) {
    this.#backend = backend;
    this.#byReplyTo = byReplyTo;
  }

  answer({ content, properties: { headers, replyTo } }: ConsumeMessage): void {
    const connectionId: string = headers!.connection_id;
    const seq: number = headers!.from_device_seq;
    const { highest } = this.#connections.get(connectionId) ?? { highest: -1 };
    if (seq < highest) this.outOfOrder++;
    this.nodes.add(connectionId.slice(-12));
    this.#connections.set(connectionId, { highest: Math.max(highest, seq), replyTo });
    this.#publish(connectionId, content, seq, replyTo);
  }

  sayFarewell(): void {
    for (const [connectionId, { replyTo }] of this.#connections)
      this.#publish(connectionId, 'farewell', LINES, replyTo);
  }

  #publish(connectionId: string, body: Buffer | string, seq: number, replyTo: string): void {
    this.#backend.reply(connectionId, body, this.#byReplyTo ? { seq, queue: replyTo } : { seq });
  }
}

function shuffled<T>(items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other]!, items[last]!];
  }
  return items;
}
