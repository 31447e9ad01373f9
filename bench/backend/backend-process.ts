import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Channel, type ChannelModel, type ConfirmChannel, type ConsumeMessage, connect } from 'amqplib';
import { AckTracker } from '../../src/broker/ack-tracker.ts';
import { maskUrl } from '../../src/config/mask.ts';
import { Ledger } from '../../src/dev/ledger.ts';
import { Backoff } from '../../src/util/backoff.ts';
import { corkEachTurn } from '../../src/util/cork-each-turn.ts';
import { Disorder } from './disorder.ts';
import { type BackendSettings, type FromBackend, noBackendCounters, type ToBackend } from './messages.ts';

/**
 * The backend of a load test, as one process: takes lines, answers them with their own text, and keeps the ledger.
 * A line is acknowledged once its reply is confirmed, so that a lost connection loses none.
 */

/** Lines under way; as many replies may await their confirm. A quorum queue needs some thousands for full speed. */
const PREFETCH = 4_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** How long the first session may take; a later one is waited for as long as the run lasts. */
const FIRST_SESSION_MS = 30_000;
const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 2_000;
const COUNTERS_MS = 250;
/** How long a shuffled reply waits for others at most. */
const SHUFFLE_MS = 100;

const NAME_SEPARATOR = ' ';

class BackendProcess {
  readonly #settings: BackendSettings;
  readonly #ledger = new Ledger();
  readonly #counters = noBackendCounters();
  /** Lines whose reply is not confirmed, with the session that it was published on. */
  readonly #unconfirmed = new Map<string, BackendSession>();

  constructor(settings: BackendSettings) {
    this.#settings = settings;
    setInterval(() => this.#sendCounters(), COUNTERS_MS);
  }

  /** Serves for as long as the process lives; connects again when the connection is lost. */
  async serve(): Promise<never> {
    const backoff = new Backoff(RECONNECT_MIN_MS, RECONNECT_MAX_MS);
    let lastError = 'it does not answer';
    const first = setTimeout(() => this.#sendFailed(lastError), FIRST_SESSION_MS);
    for (;;) {
      try {
        const model = await connect(this.#settings.url, { timeout: CONNECT_TIMEOUT_MS, noDelay: true });
        const session = new BackendSession(model, this.#settings, this);
        await session.open();
        clearTimeout(first);
        send({ type: 'ready' });
        backoff.reset();
        await session.ended;
        this.#counters.reconnects++;
        this.#ledger.backendReconnected();
      } catch (error) {
        // The broker is away, or the gateway has not declared the queues yet.
        const { message, code } = error as NodeJS.ErrnoException;
        // Where a name has several addresses, only the code says what happened.
        lastError = message || String(code);
      }
      await delay(backoff.nextMs());
    }
  }

  /** @returns the number and name of a line that is to be answered, or `undefined` when it is only to be acked */
  taken(message: ConsumeMessage, session: BackendSession): { n: number; name: string } | undefined {
    const { session: device, n, isFirst } = this.#ledger.lineTaken(message);
    this.#counters.taken = this.#ledger.taken;
    if (this.#settings.reply === 'none') return undefined;
    const name = `${device}${NAME_SEPARATOR}${n}`;
    const earlier = this.#unconfirmed.get(name);
    // A copy is answered only where the reply to the first was lost with its connection.
    if (!isFirst && (earlier === undefined || earlier === session)) return undefined;
    if (isFirst && Math.random() < this.#settings.drop) {
      this.#counters.dropped++;
      return undefined;
    }
    this.#unconfirmed.set(name, session);
    return { n, name };
  }

  confirmed(name: string, n: number): void {
    this.#unconfirmed.delete(name);
    this.#counters.published++;
    this.#ledger.replyPublished(name.slice(0, name.indexOf(NAME_SEPARATOR)), n);
  }

  duplicated(): void {
    this.#counters.duplicated++;
  }

  undelivered(message: ConsumeMessage): void {
    this.#counters.undelivered++;
    this.#ledger.undelivered(message);
  }

  report(tallies: Extract<ToBackend, { type: 'report' }>['tallies']): void {
    send({ type: 'report', report: this.#ledger.report(tallies) });
  }

  #sendFailed(lastError: string): void {
    const why = `backend: no lines can be taken at ${maskUrl(this.#settings.url)} after ${FIRST_SESSION_MS / 1_000} s: ${lastError}`;
    send({ type: 'failed', why });
  }

  #sendCounters(): void {
    send({ type: 'counters', counters: this.#counters });
  }
}

/** One connection to the broker. */
class BackendSession {
  readonly ended: Promise<void>;
  readonly #model: ChannelModel;
  readonly #settings: BackendSettings;
  readonly #backend: BackendProcess;
  readonly #acks = new AckTracker();
  readonly #disorder: Disorder<() => void>;
  #channel!: ConfirmChannel;
  #shuffleTimer: NodeJS.Timeout | undefined;
  #flushing = false;
  #over = false;
  #end: () => void = () => {};

  constructor(model: ChannelModel, settings: BackendSettings, backend: BackendProcess) {
    this.#model = model;
    this.#settings = settings;
    this.#backend = backend;
    this.#disorder = new Disorder(settings.shuffle);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    model.on('error', () => {}); // 'close' follows.
    model.on('close', () => this.#ended());
    corkEachTurn((model.connection as unknown as { stream: Socket }).stream);
  }

  /** @throws what the broker answers when a queue does not exist */
  async open(): Promise<void> {
    try {
      const channel = await this.#model.createConfirmChannel();
      this.#channel = this.#watched(channel);
      await channel.prefetch(PREFETCH);
      for (const queue of this.#settings.fromDevice) await channel.consume(queue, this.#consumed(this.#line));
      const side = this.#watched(await this.#model.createChannel());
      await side.prefetch(PREFETCH);
      await side.consume(
        this.#settings.undelivered,
        this.#consumed((message) => {
          this.#backend.undelivered(message);
          side.ack(message);
        }),
      );
    } catch (error) {
      this.#ended();
      throw error;
    }
  }

  #watched<C extends Channel>(channel: C): C {
    channel.on('error', () => {}); // 'close' follows.
    channel.on('close', () => this.#ended());
    return channel;
  }

  #consumed(take: (message: ConsumeMessage) => void): (message: ConsumeMessage | null) => void {
    return (message) => {
      if (message === null) this.#ended();
      else if (!this.#over) take(message);
    };
  }

  #ended(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#shuffleTimer);
    this.#model.close().catch(() => {}); // It is gone already.
    this.#end();
  }

  readonly #line = (message: ConsumeMessage): void => {
    this.#acks.delivered(message.fields.deliveryTag);
    const answer = this.#backend.taken(message, this);
    if (answer === undefined) {
      this.#settle(message);
      return;
    }
    const { shuffle, delayMs } = this.#settings;
    const publish = () => this.#publish(message, answer.n, answer.name);
    if (delayMs > 0) setTimeout(publish, delayMs);
    else if (shuffle > 1) this.#shuffle(publish);
    else publish();
  };

  #shuffle(publish: () => void): void {
    for (const due of this.#disorder.push(publish)) due();
    this.#shuffleTimer ??= setTimeout(() => {
      this.#shuffleTimer = undefined;
      for (const due of this.#disorder.flush()) due();
    }, SHUFFLE_MS);
  }

  #publish(message: ConsumeMessage, n: number, name: string): void {
    if (this.#over) return;
    const { replyTo, headers } = message.properties;
    const { reply, toDevice, duplicate } = this.#settings;
    const queue = reply === 'inbox' && typeof replyTo === 'string' ? replyTo : toDevice;
    const properties = {
      persistent: true,
      headers: { connection_id: headers?.connection_id, to_device_seq: { '!': 'int64', value: n } },
    };
    this.#channel.sendToQueue(queue, message.content, properties, (error) => {
      if (this.#over) return;
      // Not taken by the broker: the channel is given up, and the line comes again.
      if (error) {
        this.#ended();
        return;
      }
      this.#backend.confirmed(name, n);
      this.#settle(message);
    });
    if (duplicate > 0 && Math.random() < duplicate) {
      this.#backend.duplicated();
      this.#channel.sendToQueue(queue, message.content, properties);
    }
  }

  /** Acks go once a turn, together. */
  #settle(message: ConsumeMessage): void {
    this.#acks.settled(message.fields.deliveryTag);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      if (this.#over) return;
      for (const { deliveryTag, multiple } of this.#acks.flush()) {
        this.#channel.ack({ fields: { deliveryTag } } as ConsumeMessage, multiple);
      }
    });
  }
}

function send(message: FromBackend): void {
  if (process.connected) process.send!(message);
}

let backend: BackendProcess | undefined;

process.on('message', (message: ToBackend) => {
  if (message.type === 'start') {
    backend = new BackendProcess(message.settings);
    void backend.serve();
  } else {
    backend?.report(message.tallies);
  }
});

process.on('disconnect', () => process.exit(0));
// A terminal sends these to every process of its group; the harness decides what becomes of us.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

send({ type: 'loaded' });
