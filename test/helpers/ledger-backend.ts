import { setTimeout as delay } from 'node:timers/promises';
import { type ConfirmChannel, type ConsumeMessage, connect } from 'amqplib';
import type { Ledger } from '../../src/dev/ledger.ts';
import type { Names } from './names.ts';

const PREFETCH = 200;
const RETRY_MS = 250;

/** How replies reach the gateway: by the queue that the line names, or by the one that all nodes share. */
export type ReplyRoute = 'inbox' | 'shared';

/** Takes an undelivered message that is not an answer of this backend; returns false for others. */
export type StrayUndelivered = (message: ConsumeMessage) => boolean;

/**
 * A backend that answers each line with itself and enters everything in a ledger. A line is acknowledged once its
 * reply is confirmed, so that a reply that a broker lost with the connection is published again. It connects again
 * by itself, as often as it takes.
 */
export class LedgerBackend {
  readonly #ledger: Ledger;
  readonly #names: Names;
  readonly #urls: readonly string[];
  readonly #route: ReplyRoute;
  /** `<session> <n>` of lines whose reply is confirmed. */
  readonly #answered = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #done: Promise<void>;
  readonly #strayUndelivered: StrayUndelivered;

  constructor(
    ledger: Ledger,
    names: Names,
    urls: readonly string[],
    route: ReplyRoute,
    strayUndelivered: StrayUndelivered = () => false,
  ) {
    this.#strayUndelivered = strayUndelivered;
    this.#ledger = ledger;
    this.#names = names;
    this.#urls = urls;
    this.#route = route;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#stopping.signal.aborted; attempt++) {
      try {
        await this.#serve(this.#urls[attempt % this.#urls.length]!);
      } catch {
        // The broker is gone, or not yet there: that is what tests do to it.
        this.#ledger.backendReconnected();
        await delay(RETRY_MS, undefined, { signal: this.#stopping.signal }).catch(() => {});
      }
    }
  }

  /** Answers until the connection fails or `stop` is called. */
  async #serve(url: string): Promise<void> {
    const model = await connect(url, { noDelay: true, timeout: 5_000 });
    const failed = new Promise<never>((_, reject) => {
      model.on('error', reject);
      model.on('close', () => reject(new Error('connection closed')));
    });
    failed.catch(() => {}); // It also fails while we close the connection ourselves.
    const stop = new Promise<void>((resolve) => {
      if (this.#stopping.signal.aborted) resolve();
      else this.#stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    try {
      const channel = await Promise.race([failed, model.createConfirmChannel()]);
      const channelFailed = new Promise<never>((_, reject) => {
        channel.on('error', reject);
        channel.on('close', () => reject(new Error('channel closed')));
      });
      channelFailed.catch(() => {});
      const consume = async () => {
        await channel.prefetch(PREFETCH);
        const gone = () => channel.emit('error', new Error('a queue was deleted'));
        await channel.consume(this.#names.fromDevice, (line) =>
          line ? this.#answer(channel, line) : gone(),
        );
        await channel.consume(this.#names.undelivered, (message) => {
          if (message === null) return gone();
          if (!this.#strayUndelivered(message)) this.#ledger.undelivered(message);
          channel.ack(message);
        });
      };
      await Promise.race([failed, channelFailed, consume()]);
      await Promise.race([failed, channelFailed, stop]);
    } finally {
      await Promise.race([model.close().catch(() => {}), delay(2_000, undefined, { ref: false })]);
    }
  }

  #answer(channel: ConfirmChannel, line: ConsumeMessage): void {
    const { session, n, isFirst } = this.#ledger.lineTaken(line);
    const name = `${session} ${n}`;
    if (!isFirst && this.#answered.has(name)) {
      channel.ack(line);
      return;
    }
    const queue = this.#route === 'inbox' ? line.properties.replyTo : this.#names.toDevice;
    const headers = {
      connection_id: line.properties.headers?.connection_id,
      to_device_seq: { '!': 'int64', value: n },
    };
    channel.sendToQueue(queue, line.content, { headers, persistent: true, mandatory: true }, (error) => {
      // The channel is lost, and the broker will deliver the line again.
      if (error) return;
      this.#answered.add(name);
      this.#ledger.replyPublished(session, n);
      channel.ack(line);
    });
  }
}
