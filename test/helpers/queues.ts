import { setTimeout as delay } from 'node:timers/promises';
import amqp, { type Channel } from 'amqplib';
import { inject } from 'vitest';
import { eventually } from './eventually.ts';

/** Queues and exchanges as anyone sees them who has the broker's address. Each call has a connection of its own. */

/** Declares a durable queue. @throws what the broker answers when one exists that differs */
export async function declareQueue(
  queue: string,
  args: Record<string, unknown>,
  amqpUrl?: string,
): Promise<void> {
  await onChannel((channel) => channel.assertQueue(queue, { durable: true, arguments: args }), amqpUrl);
}

/** Returns how many messages, ready to be taken, went with it. */
export async function deleteQueue(queue: string, amqpUrl?: string): Promise<number> {
  const { messageCount } = await onChannel((channel) => channel.deleteQueue(queue), amqpUrl);
  return messageCount;
}

/** Deletes a queue and declares it as soon as that is done. Returns what `deleteQueue` does. */
export async function recreateQueue(
  queue: string,
  args: Record<string, unknown>,
  amqpUrl?: string,
): Promise<number> {
  const [{ messageCount }] = await onChannel(
    (channel) =>
      Promise.all([
        channel.deleteQueue(queue),
        channel.assertQueue(queue, { durable: true, arguments: args }),
      ]),
    amqpUrl,
  );
  return messageCount;
}

export async function declareExchange(exchange: string, type: string): Promise<void> {
  await onChannel((channel) => channel.assertExchange(exchange, type, { durable: true }));
}

export async function deleteExchange(exchange: string): Promise<void> {
  await onChannel((channel) => channel.deleteExchange(exchange));
}

/**
 * A broker that is killed may forget what has changed in its queues, users and permissions within the last two seconds
 * (decision 013): waits until all of it until now is written.
 */
export async function metadataWritten(): Promise<void> {
  await delay(3_000);
}

/** Messages that are ready in a queue, or `undefined` when there is no such queue. */
export async function queueDepth(queue: string, amqpUrl?: string): Promise<number | undefined> {
  const found = await unlessMissing(onChannel((channel) => channel.checkQueue(queue), amqpUrl));
  return found?.messageCount;
}

/**
 * Watches for the deletion of a queue that exists. To ask for the queue itself would renew its lease (x-expires):
 * it is bound to an exchange that goes when its last binding does, and that is asked for.
 */
export async function watchDeletion(queue: string): Promise<{ deleted(): Promise<void> }> {
  const exchange = `${queue}.alive`;
  await onChannel(async (channel) => {
    await channel.assertExchange(exchange, 'fanout', { autoDelete: true });
    await channel.bindQueue(queue, exchange, '');
  });
  const find = () => unlessMissing(onChannel((channel) => channel.checkExchange(exchange)));
  return {
    deleted: async () => {
      await eventually(`the end of ${queue}`, async () => (await find()) === undefined);
    },
  };
}

/** `undefined` where the broker answers that there is no such thing. */
async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if ((error as { code?: number }).code === NOT_FOUND) return undefined;
    throw error;
  }
}

const NOT_FOUND = 404;

async function onChannel<T>(
  use: (channel: Channel) => Promise<T>,
  amqpUrl: string = inject('amqpUrl'),
): Promise<T> {
  const connection = await amqp.connect(amqpUrl, { noDelay: true });
  // A refusal closes the channel, and is what the call itself throws.
  connection.on('error', () => {});
  try {
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    return await use(channel);
  } finally {
    await connection.close();
  }
}
