import { setTimeout as delay } from 'node:timers/promises';
import { type ChannelModel, type ConfirmChannel, type ConsumeMessage, connect } from 'amqplib';
import type { Ledger } from '../../src/dev/ledger.ts';
import { within } from './eventually.ts';
import type { Names } from './names.ts';

const PREFETCH = 200;
const RETRY_MS = 250;
const CONFIRM_TIMEOUT_MS = 10_000;
const SUBSCRIBE_TIMEOUT_MS = 10_000;

/** How replies reach the gateway: by the queue that the line names, or by the one that all nodes share. */
export type ReplyRoute = 'inbox' | 'shared';

/** Takes an undelivered message that is not an answer of this backend; returns false for others. */
export type StrayUndelivered = (message: ConsumeMessage) => boolean;

/**
 * A backend that answers each line with itself and enters everything in a ledger. A line is acknowledged once its
 * reply is confirmed, so that a reply that a broker lost with the connection is published again; one that no queue
 * took, or that the broker refused, is offered again. It connects again by itself, as often as it takes.
 */
export class LedgerBackend {
  /** Of the replies from now on. */
  route: ReplyRoute;
  readonly #ledger: Ledger;
  readonly #names: Names;
  readonly #lineQueues: readonly string[];
  readonly #urls: readonly string[];
  /** `<session> <n>` of lines whose reply is confirmed. */
  readonly #answered = new Set<string>();
  /** Replies that were sent, and when. */
  readonly #unconfirmed = new Map<string, number>();
  /** The same of replies that came back and whose confirm has not come. */
  readonly #returned = new Set<string>();
  readonly #withheldSessions = new Set<string>();
  #withheldLines: ConsumeMessage[] = [];
  #wanted: 'serving' | 'paused' | 'stopped' = 'serving';
  /** Wakes the loop, wherever it waits. */
  #wake: () => void = () => {};
  #onServed: () => void = () => {};
  #channel: ConfirmChannel | undefined;
  readonly #done: Promise<void>;
  readonly #strayUndelivered: StrayUndelivered;

  constructor(
    ledger: Ledger,
    names: Names,
    lineQueues: readonly string[],
    urls: readonly string[],
    route: ReplyRoute,
    strayUndelivered: StrayUndelivered = () => false,
  ) {
    this.#strayUndelivered = strayUndelivered;
    this.#ledger = ledger;
    this.#names = names;
    this.#lineQueues = lineQueues;
    this.#urls = urls;
    this.route = route;
    this.#done = this.#run();
  }

  /** Replies that the broker has taken. */
  get answered(): number {
    return this.#answered.size;
  }

  /** Closes its connection in good order; lines stay in their queue until `resume`. */
  async pause(): Promise<void> {
    const served = new Promise<void>((resolve) => {
      this.#onServed = resolve;
    });
    this.#want('paused');
    if (this.#channel !== undefined) await served;
  }

  resume(): void {
    this.#want('serving');
  }

  /** Keeps the reply to the session's next line back until `release`; later ones overtake it. */
  withholdNext(session: string): void {
    this.#withheldSessions.add(session);
  }

  get withheld(): number {
    return this.#withheldLines.length;
  }

  release(): void {
    for (const line of this.#withheldLines.splice(0)) this.#publish(this.#channel!, line, () => {});
  }

  async stop(): Promise<void> {
    this.#want('stopped');
    await this.#done;
  }

  #want(wanted: 'serving' | 'paused' | 'stopped'): void {
    this.#wanted = wanted;
    this.#wake();
  }

  /** Resolves at the next change of what is wanted. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #run(): Promise<void> {
    for (let attempt = 0; this.#wanted !== 'stopped'; attempt++) {
      if (this.#wanted === 'paused') {
        await this.#change();
        continue;
      }
      try {
        await this.#serve(this.#urls[attempt % this.#urls.length]!);
      } catch {
        // The broker is gone, or not yet there: that is what tests do to it.
        this.#ledger.backendReconnected();
        await delay(RETRY_MS);
      }
      this.#onServed();
    }
  }

  /** Answers until the connection fails or it is to pause or stop. */
  async #serve(url: string): Promise<void> {
    const stop = this.#change();
    const model = await connect(url, { noDelay: true, timeout: 5_000 });
    const failed = new Promise<never>((_, reject) => {
      model.on('error', reject);
      model.on('close', () => reject(new Error('connection closed')));
    });
    failed.catch(() => {}); // It also fails while we close the connection ourselves.
    try {
      const channel = await Promise.race([failed, model.createConfirmChannel()]);
      this.#channel = channel;
      const channelFailed = new Promise<never>((_, reject) => {
        channel.on('error', reject);
        channel.on('close', () => reject(new Error('channel closed')));
      });
      channelFailed.catch(() => {});
      channel.on('return', (message) => this.#returned.add(message.properties.messageId));
      const consume = async () => {
        await channel.prefetch(PREFETCH);
        const gone = () => channel.emit('error', new Error('a queue was deleted'));
        for (const queue of this.#lineQueues)
          await channel.consume(queue, (line) => (line ? this.#answer(channel, line) : gone()));
        await channel.consume(this.#names.undelivered, (message) => {
          if (message === null) return gone();
          if (!this.#strayUndelivered(message)) this.#ledger.undelivered(message);
          channel.ack(message);
        });
      };
      // One that meets a quorum queue without a leader can wait for its answer for more than a minute.
      const subscribed = Promise.race([failed, channelFailed, consume()]);
      await within('the subscriptions', subscribed, SUBSCRIBE_TIMEOUT_MS);
      const stuck = new AbortController();
      try {
        await Promise.race([failed, channelFailed, stop, this.#stuck(model, stuck.signal)]);
      } finally {
        stuck.abort();
      }
    } finally {
      this.#channel = undefined;
      await Promise.race([model.close().catch(() => {}), delay(2_000, undefined, { ref: false })]);
    }
  }

  /** Rejects when a confirm is long overdue: a quorum queue that changes its leader can leave a channel without one. */
  async #stuck(model: ChannelModel, signal: AbortSignal): Promise<never> {
    let blocked = false;
    model.on('blocked', () => {
      blocked = true;
    });
    model.on('unblocked', () => {
      blocked = false;
      this.#unconfirmed.clear();
    });
    this.#unconfirmed.clear();
    for (;;) {
      await delay(1_000, undefined, { signal, ref: false });
      const [oldest] = this.#unconfirmed.values();
      if (!blocked && oldest !== undefined && performance.now() - oldest > CONFIRM_TIMEOUT_MS)
        throw new Error('a reply was not confirmed');
    }
  }

  #answer(channel: ConfirmChannel, line: ConsumeMessage): void {
    const { session, n, isFirst } = this.#ledger.lineTaken(line);
    if (!isFirst && this.#answered.has(`${session} ${n}`)) {
      channel.ack(line);
    } else if (this.#withheldSessions.delete(session)) {
      // Acknowledged at once: the broker may close the channel of a consumer that takes long.
      this.#withheldLines.push(line);
      channel.ack(line);
    } else {
      this.#publish(channel, line, () => channel.ack(line));
    }
  }

  #publish(channel: ConfirmChannel, line: ConsumeMessage, done: () => void): void {
    const [session, n] = String(line.content).split(' ', 2) as [string, string];
    const name = `${session} ${n}`;
    const queue = this.route === 'inbox' ? line.properties.replyTo : this.#names.toDevice;
    const headers = {
      connection_id: line.properties.headers?.connection_id,
      to_device_seq: { '!': 'int64', value: Number(n) },
    };
    const options = { headers, persistent: true, mandatory: true, messageId: name };
    // Counts from the first attempt: RabbitMQ goes on refusing on a channel whose first publish met a quorum queue
    // without a leader.
    if (!this.#unconfirmed.has(name)) this.#unconfirmed.set(name, performance.now());
    channel.sendToQueue(queue, line.content, options, (error) => {
      const returned = this.#returned.delete(name);
      // Refused (basic.nack) or returned. With a lost channel the broker delivers the line again.
      if (error || returned) {
        setTimeout(() => {
          if (channel !== this.#channel) return;
          if (returned) this.#unconfirmed.delete(name);
          this.#publish(channel, line, done);
        }, RETRY_MS);
        return;
      }
      this.#unconfirmed.delete(name);
      this.#answered.add(name);
      this.#ledger.replyPublished(session, Number(n));
      done();
    });
  }
}
