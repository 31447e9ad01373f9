import type { Socket } from 'node:net';
import amqp, { type ChannelModel } from 'amqplib';
import type { Logger } from 'pino';
import { maskUrl } from '../config/mask.ts';
import type { Backoff } from '../util/backoff.ts';
import { corkEachTurn } from '../util/cork-each-turn.ts';
import { BrokerError, messageOf } from './broker-error.ts';
import { ignoreLateFrames } from './late-frames.ts';
import { Silence } from './silence.ts';
import { passUnreadableHeaders } from './unreadable-headers.ts';

/**
 * One AMQP connection that comes back by itself. A node has three, because a broker in a memory alarm stops
 * reading from connections that publish: acks and forwards must not share one with device frames.
 */
export type LinkName = 'publish' | 'consume' | 'forward';

export interface LinkOptions {
  /** Tried in turn, each with the same backoff. */
  readonly urls: readonly string[];
  readonly tls: { ca?: string; cert?: string; key?: string };
  readonly heartbeatSeconds: number;
  readonly connectTimeoutMs: number;
}

/** Told in this order: `connected`, any number of `blockedChanged`, `lost`. */
export interface LinkListener {
  connected?(model: ChannelModel): void;
  lost?(): void;
  blockedChanged?(blocked: boolean): void;
}

export interface LinkObserver {
  linkConnected(link: LinkName): void;
  linkLost(link: LinkName): void;
  linkBlocked(link: LinkName, blocked: boolean): void;
}

export class BrokerLink {
  readonly name: LinkName;
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  readonly #observer: LinkObserver;
  readonly #log: Logger;
  readonly #listeners: LinkListener[] = [];
  #model: ChannelModel | null = null;
  #blocked = false;
  #stopped = false;
  /** Ends the wait that is under way: for a connection, for its loss, or between two attempts. */
  #endWait: () => void = () => {};
  #loop: Promise<void> = Promise.resolve();

  constructor(name: LinkName, options: LinkOptions, backoff: Backoff, observer: LinkObserver, log: Logger) {
    this.name = name;
    this.#options = options;
    this.#backoff = backoff;
    this.#observer = observer;
    this.#log = log.child({ link: name });
  }

  get model(): ChannelModel | null {
    return this.#model;
  }

  /** The broker has said connection.blocked: it reads nothing that is published on this connection. */
  get isBlocked(): boolean {
    return this.#blocked;
  }

  /** A listener that comes while the link is up is told only of what follows. */
  listen(listener: LinkListener): void {
    this.#listeners.push(listener);
  }

  /** Ends a connection whose broker does not answer, although its heartbeats come; another is made. */
  giveUp(model: ChannelModel, reason: string): void {
    if (model === this.#model) socketOf(model).destroy(new BrokerError('no_answer', reason));
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Closes the connection for good; waits for the broker's close-ok at most one second. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#endWait();
    await this.#loop;
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.#stopped; attempt++) {
      const url = this.#options.urls[attempt % this.#options.urls.length]!;
      let failure: unknown;
      try {
        const connectedAtMs = performance.now();
        const model = await this.#connect(url);
        await this.#serve(model, url);
        // One that is lost as soon as it is made must not be retried at full speed.
        if (performance.now() - connectedAtMs > this.#options.heartbeatSeconds * 1_000) this.#backoff.reset();
      } catch (error) {
        failure = error;
      }
      if (this.#stopped) return;
      const waitMs = this.#backoff.nextMs();
      if (failure !== undefined) this.#logFailure(url, failure, waitMs);
      await this.#pause(waitMs);
    }
  }

  /** The first failure and then ever rarer ones: a broker that is away for hours must not fill the log. */
  #logFailure(url: string, error: unknown, waitMs: number): void {
    const attempt = this.#backoff.failures;
    if (!Number.isInteger(Math.log2(attempt))) return;
    this.#log.warn(
      { broker: maskUrl(url), attempt, reason: messageOf(error), retryInMs: Math.round(waitMs) },
      'broker connection failed, trying again',
    );
  }

  async #connect(url: string): Promise<ChannelModel> {
    const { tls, heartbeatSeconds, connectTimeoutMs } = this.#options;
    const withHeartbeat = new URL(url);
    if (!withHeartbeat.searchParams.has('heartbeat')) {
      withHeartbeat.searchParams.set('heartbeat', String(heartbeatSeconds));
    }
    const connecting = amqp.connect(withHeartbeat.href, {
      ...tls,
      noDelay: true,
      keepAlive: true,
      timeout: connectTimeoutMs,
      clientProperties: { connection_name: `owsla ${process.pid} ${this.name}`, product: 'owsla' },
    });
    let timer: NodeJS.Timeout | undefined;
    const givenUp = new Promise<never>((_, reject) => {
      const tooLate = new Error(`no AMQP handshake within ${connectTimeoutMs} ms`);
      timer = setTimeout(() => reject(tooLate), connectTimeoutMs);
      this.#endWait = () => reject(new Error('stopped while connecting'));
    });
    try {
      const model = await Promise.race([connecting, givenUp]);
      // The broker has closed it in the same breath; closing it again says why.
      if (isClosed(model)) await model.close();
      return model;
    } catch (error) {
      // A late success must not leave a connection nobody knows.
      connecting.then(discard, () => {});
      throw new BrokerError('connect_failed', messageOf(error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Announces the connection and returns when it has ended. */
  async #serve(model: ChannelModel, url: string): Promise<void> {
    corkEachTurn(socketOf(model));
    ignoreLateFrames(model);
    passUnreadableHeaders(model);
    let failure: Error | undefined;
    const ended = new Promise<void>((resolve) => {
      this.#endWait = resolve;
      model.on('close', (error) => {
        failure ??= error;
        resolve();
      });
    });
    // amqplib emits 'close' right after; without a listener the error would be thrown.
    model.on('error', (error) => {
      failure ??= error;
    });
    model.on('blocked', (reason) => this.#setBlocked(true, reason));
    model.on('unblocked', () => this.#setBlocked(false));
    this.#model = model;
    this.#log.info({ broker: maskUrl(url) }, 'broker connected');
    this.#observer.linkConnected(this.name);
    for (const listener of this.#listeners) listener.connected?.(model);
    const watch = destroyWhenSilent(model);

    if (!this.#stopped) await ended;

    clearInterval(watch);
    this.#model = null;
    this.#blocked = false;
    this.#observer.linkLost(this.name);
    for (const listener of this.#listeners) listener.lost?.();
    if (this.#stopped) await closeOrderly(model);
    else
      this.#log.warn(
        { broker: maskUrl(url), reason: messageOf(failure ?? 'closed') },
        'broker connection lost',
      );
    // amqplib only ends the stream; a dead peer's socket would linger.
    discard(model);
  }

  #setBlocked(blocked: boolean, reason?: string): void {
    this.#blocked = blocked;
    this.#observer.linkBlocked(this.name, blocked);
    if (blocked) this.#log.warn({ reason }, 'broker blocks publishing');
    else this.#log.info('broker takes publishing again');
    for (const listener of this.#listeners) listener.blockedChanged?.(blocked);
  }

  async #pause(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#endWait = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
  }
}

const CLOSE_WAIT_MS = 1_000;
const LOOKS_PER_HEARTBEAT = 8;

async function closeOrderly(model: ChannelModel): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  // Already closing or closed: there is nothing left to say goodbye to.
  const closing = model.close().catch(() => {});
  const tooLate = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_WAIT_MS);
  });
  await Promise.race([closing, tooLate]);
  clearTimeout(timer);
}

/** Ends a connection whose broker has been silent for two heartbeats, as amqplib ends one whose socket fails. */
function destroyWhenSilent(model: ChannelModel): NodeJS.Timeout | undefined {
  const { heartbeat } = model.connection as unknown as { heartbeat: number };
  // Broker and URL have agreed on none.
  if (heartbeat === 0) return undefined;
  const socket = socketOf(model);
  const silence = new Silence(LOOKS_PER_HEARTBEAT);
  return setInterval(
    () => {
      if (silence.look(socket.bytesRead))
        socket.destroy(
          new BrokerError(
            'heartbeat_timeout',
            `nothing from the broker for two heartbeats of ${heartbeat} s`,
          ),
        );
    },
    (heartbeat * 1_000) / LOOKS_PER_HEARTBEAT,
  );
}

/** The TCP or TLS socket under an amqplib connection; amqplib has no public name for it. */
function socketOf(model: ChannelModel): Socket {
  return (model.connection as unknown as { stream: Socket }).stream;
}

/** amqplib has no public name for this. */
function isClosed(model: ChannelModel): boolean {
  return (model.connection as unknown as { expectSocketClose: boolean }).expectSocketClose;
}

/** Ends a connection that nobody needs. amqplib has to notice: its heartbeats would fail, and nobody would hear it. */
function discard(model: ChannelModel): void {
  const socket = socketOf(model);
  model.on('error', () => {});
  socket.on('error', () => {});
  socket.destroy(new Error('nobody needs it'));
}
