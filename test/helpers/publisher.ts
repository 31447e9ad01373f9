import { type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import { inject } from 'vitest';
import { publishNested } from './nested-headers.ts';

/** Publishes whatever a backend might, beside the traffic. */
export class Publisher {
  readonly #model: ChannelModel;
  readonly #channel: ConfirmChannel;

  static async connect(amqpUrl: string = inject('amqpUrl')): Promise<Publisher> {
    const model = await connect(amqpUrl, { noDelay: true });
    model.on('error', () => {});
    return new Publisher(model, await model.createConfirmChannel());
  }

  private constructor(model: ChannelModel, channel: ConfirmChannel) {
    this.#model = model;
    this.#channel = channel;
  }

  publish(queue: string, body: Buffer | string, options: Options.Publish): void {
    this.#channel.sendToQueue(queue, Buffer.from(body), options);
  }

  /** Publishes a reply with the number that belongs to its place in the order. */
  reply(queue: string, connectionId: string, seq: number, body: Buffer | string): void {
    const headers = { connection_id: connectionId, to_device_seq: { '!': 'int64', value: seq } };
    this.publish(queue, body, { headers, persistent: true });
  }

  /** Publishes a reply whose `to_device_seq` is an array in an array, so many deep. */
  async nested(queue: string, connectionId: string, depth: number, body: string): Promise<void> {
    const channel = await this.#model.createChannel();
    const headers = { strings: { connection_id: connectionId }, nested: 'to_device_seq', depth };
    publishNested(channel, queue, headers, body);
    await channel.close();
  }

  /** Resolves when the broker has confirmed all. */
  async flushed(): Promise<void> {
    await this.#channel.waitForConfirms();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close().catch(() => {});
  }
}
