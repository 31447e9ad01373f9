import amqp, {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  type ConsumeMessage,
  type Message,
  type Options,
} from 'amqplib';
import { inject } from 'vitest';
import { eventually } from './eventually.ts';
import type { Names } from './names.ts';

export interface ReplyOptions {
  /** `to_device_seq`; left out: unordered. */
  seq?: number;
  /** Default: the shared queue. */
  queue?: string;
  headers?: Record<string, unknown>;
}

type Json = Record<string, unknown>;

/** The backend's side of the contract, for tests: takes device lines, replies, watches events and undelivered. */
export class Backend {
  readonly names: Names;
  /** Lines taken by `collect`. */
  readonly lines: ConsumeMessage[] = [];
  readonly undelivered: ConsumeMessage[] = [];
  readonly events: Json[] = [];
  /** The messages that `events` were in. */
  readonly eventMessages: ConsumeMessage[] = [];
  readonly #model: ChannelModel;
  readonly #publisher: ConfirmChannel;
  readonly #consumer: Channel;

  /** Call it after the gateway is ready: the queues are the gateway's to declare. */
  static async connect(names: Names, amqpUrl: string = inject('amqpUrl')): Promise<Backend> {
    const model = await amqp.connect(amqpUrl, { noDelay: true });
    model.on('error', () => {});
    const backend = new Backend(
      names,
      model,
      await model.createConfirmChannel(),
      await model.createChannel(),
    );
    await backend.#watch();
    return backend;
  }

  private constructor(names: Names, model: ChannelModel, publisher: ConfirmChannel, consumer: Channel) {
    this.names = names;
    this.#model = model;
    this.#publisher = publisher;
    this.#consumer = consumer;
  }

  async #watch(): Promise<void> {
    const { queue } = await this.#consumer.assertQueue('', { exclusive: true });
    await this.#consumer.bindQueue(queue, this.names.events, '#');
    const noAck = { noAck: true };
    const took = (message: ConsumeMessage) => {
      this.eventMessages.push(message);
      this.events.push(JSON.parse(String(message.content)));
    };
    await this.#consumer.consume(queue, (message) => took(message!), noAck);
    await this.#consumer.consume(this.names.undelivered, (message) => this.undelivered.push(message!), noAck);
  }

  /** Hands each device line to `onLine`; it counts as taken when that returns. */
  async consume(onLine: (message: ConsumeMessage) => void): Promise<void> {
    await this.consumeFrom(this.names.fromDevice, onLine);
  }

  /** The same for one of several queues. */
  async consumeFrom(queue: string, onLine: (message: ConsumeMessage) => void): Promise<void> {
    await this.#consumer.consume(queue, (message) => {
      onLine(message!);
      this.#consumer.ack(message!);
    });
  }

  /** Collects device lines in `lines`. */
  async collect(): Promise<void> {
    await this.consume((message) => this.lines.push(message));
  }

  /** Answers each line with itself, in its own order, where the line says. */
  async echo(): Promise<void> {
    await this.consume((message) => {
      const { connection_id, from_device_seq } = message.properties.headers as {
        connection_id: string;
        from_device_seq: number;
      };
      this.reply(connection_id, message.content, { seq: from_device_seq, queue: message.properties.replyTo });
    });
  }

  /** Publishes one reply; `flushed` waits for its confirm. */
  reply(connectionId: string, body: Buffer | string, { seq, queue, headers }: ReplyOptions = {}): void {
    const order = seq === undefined ? {} : { to_device_seq: { '!': 'int64', value: seq } };
    this.#publisher.sendToQueue(queue ?? this.names.toDevice, Buffer.from(body), {
      headers: { connection_id: connectionId, ...order, ...headers },
      persistent: true,
    });
  }

  /** Publishes a message as it is to the shared queue. */
  publishRaw(body: Buffer, headers: Record<string, unknown>, queue: string = this.names.toDevice): void {
    this.#publisher.sendToQueue(queue, body, { headers });
  }

  /** Publishes a message with any properties. */
  publish(queue: string, body: Buffer | string, options: Options.Publish): void {
    this.#publisher.sendToQueue(queue, Buffer.from(body), options);
  }

  /** Makes a queue that gets the events of that name, until its last consumer is gone. */
  async bindQueue(queue: string, event: string): Promise<void> {
    await this.#consumer.assertQueue(queue, { autoDelete: true });
    await this.#consumer.bindQueue(queue, this.names.events, event);
  }

  async flushed(): Promise<void> {
    await this.#publisher.waitForConfirms();
  }

  /** Makes a queue that is full, and refuses whatever is published to it; bound to all events where that is asked for. */
  async declareFull(queue: string, { events = false } = {}): Promise<void> {
    const limits = { 'x-max-length': 1, 'x-overflow': 'reject-publish' };
    await this.#consumer.assertQueue(queue, { durable: true, arguments: limits });
    this.publish(queue, 'fills it', {});
    await this.flushed();
    if (events) await this.#consumer.bindQueue(queue, this.names.events, '#');
  }

  /** Waits for the first event of that name that the function accepts. */
  async event(name: string, accepts: (event: Json) => boolean = () => true): Promise<Json> {
    return await eventually(`event ${name}`, () => this.events.find((e) => e.event === name && accepts(e)));
  }

  /** Waits until that many messages are undelivered. */
  async undeliveredCount(count: number): Promise<ConsumeMessage[]> {
    await eventually(`${count} undelivered messages`, () => this.undelivered.length >= count);
    return this.undelivered;
  }

  /** Waits for the id of the connection that sends this line; only while lines are collected. */
  async connectionOf(line: string): Promise<string> {
    const message = await eventually(`line ${line}`, () =>
      this.lines.find((m) => String(m.content) === line),
    );
    return message.properties.headers?.connection_id;
  }

  /** Messages that are ready in a queue, as the broker counts them. */
  async depth(queue: string): Promise<number> {
    return (await this.#consumer.checkQueue(queue)).messageCount;
  }

  /** Takes what is ready in a queue. */
  async takeAll(queue: string): Promise<Message[]> {
    const messages: Message[] = [];
    for (;;) {
      const message = await this.#consumer.get(queue, { noAck: true });
      if (message === false) return messages;
      messages.push(message);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close().catch(() => {});
  }
}
