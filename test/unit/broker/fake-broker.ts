import { EventEmitter } from 'node:events';
import { type ChannelModel, type ConfirmChannel, IllegalOperationError } from 'amqplib';
import { pino } from 'pino';
import type { BrokerLink, LinkListener } from '../../../src/broker/broker-link.ts';

export const silent = pino({ level: 'silent' });

export interface Published {
  routingKey: string;
  body: string;
  options: Record<string, unknown>;
  confirmed?: (error: Error | null) => void;
}

/** A confirm channel whose broker is the test. */
export class FakeChannel extends EventEmitter {
  readonly published: Published[] = [];
  /** False once amqplib's write buffer is full: `publish` then says so, and still takes the message. */
  hasRoom = true;
  closed = false;

  publish(
    _exchange: string,
    routingKey: string,
    content: Buffer,
    options: Record<string, unknown>,
    confirmed?: Published['confirmed'],
  ): boolean {
    if (this.closed) throw new IllegalOperationError('Channel closed');
    this.published.push({ routingKey, body: content.toString(), options, confirmed });
    return this.hasRoom;
  }

  /** Closes as amqplib does it: what is unconfirmed fails, then the channel is closed. */
  async close(): Promise<void> {
    if (this.closed) throw new IllegalOperationError('Channel closed');
    this.closed = true;
    for (const { confirmed } of this.published) confirmed?.(new Error('channel closed'));
    this.emit('close');
  }

  /** The broker closes the channel. */
  fail(reason: string): void {
    this.emit('error', new Error(reason));
    void this.close();
  }

  ack(deliveryTag: number, multiple = false): void {
    this.emit('ack', { deliveryTag, multiple });
  }

  nack(deliveryTag: number, multiple = false): void {
    this.emit('nack', { deliveryTag, multiple });
  }

  get bodies(): string[] {
    return this.published.map(({ body }) => body);
  }
}

class FakeModel {
  readonly #opened: (channel: FakeChannel) => void;
  readonly channels: FakeChannel[] = [];

  constructor(opened: (channel: FakeChannel) => void) {
    this.#opened = opened;
  }

  async createConfirmChannel(): Promise<ConfirmChannel> {
    const channel = new FakeChannel();
    this.channels.push(channel);
    this.#opened(channel);
    return channel as unknown as ConfirmChannel;
  }
}

/** A link that is connected, lost and blocked when the test says so. */
export class FakeLink {
  readonly name = 'publish';
  model: FakeModel | null = null;
  isBlocked = false;
  readonly #listeners: LinkListener[] = [];
  /** The first listeners are the channels' own, as in BrokerLink. */
  listen(listener: LinkListener): void {
    this.#listeners.push(listener);
  }

  #opened: (channel: FakeChannel) => void = () => {};

  /** Resolves with the channel that is opened next, once it is set up. */
  async nextChannel(): Promise<FakeChannel> {
    const channel = await new Promise<FakeChannel>((resolve) => {
      this.#opened = resolve;
    });
    await new Promise((resolve) => setImmediate(resolve));
    return channel;
  }

  connect(): Promise<FakeChannel> {
    const channel = this.nextChannel();
    this.model = new FakeModel((channel) => this.#opened(channel));
    for (const listener of this.#listeners) listener.connected?.(this.model as unknown as ChannelModel);
    return channel;
  }

  lose(): void {
    const model = this.model;
    // amqplib closes the channels of a lost connection before it reports the loss.
    for (const channel of model?.channels ?? []) if (!channel.closed) void channel.close();
    this.model = null;
    this.isBlocked = false;
    for (const listener of this.#listeners) listener.lost?.();
  }

  block(blocked: boolean): void {
    this.isBlocked = blocked;
    for (const listener of this.#listeners) listener.blockedChanged?.(blocked);
  }

  asLink(): BrokerLink {
    return this as unknown as BrokerLink;
  }
}
