import { randomUUID } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import type { Logger } from 'pino';
import type { Backoff } from '../util/backoff.ts';
import { messageOf } from './broker-error.ts';
import type { BrokerLink } from './broker-link.ts';
import { ChannelKeeper } from './channel-keeper.ts';
import type { ConsumerSession } from './consumer-session.ts';
import { PROBE_TYPE } from './envelope.ts';
import type { Topology } from './topology.ts';

/**
 * What readiness stands on: every few seconds a probe is published to the node's own inbox and has to be both
 * confirmed and consumed in time. A broker that takes connections but blocks every publish fails it.
 */
export interface RoundTripOptions {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

const EMPTY = Buffer.alloc(0);

export class RoundTrip {
  readonly #link: BrokerLink;
  readonly #options: RoundTripOptions;
  readonly #topology: Topology;
  readonly #inbox: string;
  readonly #keeper: ChannelKeeper<ConfirmChannel>;
  readonly #isWhole: () => boolean;
  /** Tells its own probes from whatever looks like one. */
  readonly #token = randomUUID();
  #channel: ConfirmChannel | null = null;
  #timer: NodeJS.Timeout | undefined;
  #sequence = 0;
  #timeouts = 0;
  #confirmed = false;
  #consumed = false;
  #works = false;
  #reason = '';
  #stopped = false;
  /** Probes published and not consumed. */
  #underWay = 0;
  #onNoneUnderWay: () => void = () => {};
  #onChange: (works: boolean, reason: string) => void = () => {};
  #onConfirmed: () => void = () => {};

  /** @param isWhole all other channels of the node are up */
  constructor(
    link: BrokerLink,
    topology: Topology,
    options: RoundTripOptions,
    isWhole: () => boolean,
    backoff: Backoff,
    log: Logger,
  ) {
    this.#link = link;
    this.#options = options;
    this.#isWhole = isWhole;
    this.#topology = topology;
    this.#inbox = topology.names.inbox;
    this.#keeper = new ChannelKeeper<ConfirmChannel>(
      link,
      {
        name: 'round-trip',
        open: (model) => model.createConfirmChannel(),
        setUp: async (channel, model) => {
          await topology.declare(model, 'undelivered', 'inbox');
          this.#channel = channel;
          this.#probeSoon(0);
        },
        lost: () => {
          this.#channel = null;
          this.#underWay = 0;
          this.failed('probe channel lost');
        },
      },
      backoff,
      log,
    );
    link.listen({ blockedChanged: (blocked) => blocked && this.failed('the broker blocks publishing') });
  }

  /** The last probe came back in time and nothing was lost since. */
  get works(): boolean {
    return this.#works;
  }

  /** Also told when only the reason for not working changes. */
  onChange(listener: (works: boolean, reason: string) => void): void {
    this.#onChange = listener;
  }

  /** Told when a probe is confirmed, whether it comes back or not: queues take messages. */
  onConfirmed(listener: () => void): void {
    this.#onConfirmed = listener;
  }

  start(): void {
    this.#probeSoon(0);
  }

  /** Sends no more probes and waits for the one under way: left in the inbox, it would become undelivered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#underWay > 0) {
      const none = new Promise<void>((resolve) => {
        this.#onNoneUnderWay = resolve;
      });
      await Promise.race([
        none,
        new Promise((resolve) => setTimeout(resolve, this.#options.timeoutMs).unref()),
      ]);
    }
    await this.#keeper.stop();
  }

  /** Not ready at once; the next probe decides anew. */
  failed(reason: string): void {
    // What is still under way was sent before; it says nothing about now.
    this.#sequence++;
    this.#set(false, reason);
  }

  /** Takes probes out of the stream of replies: its own, and those that a node has left whose inbox was adopted. */
  takes(message: ConsumeMessage, session: ConsumerSession): boolean {
    if (!isProbe(message)) return false;
    session.settled(message);
    const [token, sequence] = String(message.properties.messageId).split(' ');
    if (token !== this.#token) return true;
    this.#underWay = Math.max(0, this.#underWay - 1);
    if (this.#underWay === 0) this.#onNoneUnderWay();
    if (sequence === String(this.#sequence)) {
      this.#consumed = true;
      this.#completeIfBoth();
    }
    return true;
  }

  #probeSoon(delayMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => this.#probe(), delayMs);
  }

  #probe(): void {
    const sequence = ++this.#sequence;
    this.#confirmed = false;
    this.#consumed = false;
    this.#timer = setTimeout(() => {
      const reason = `no broker round trip within ${this.#options.timeoutMs} ms`;
      this.failed(reason);
      // A channel can be stuck although its connection is not.
      if (++this.#timeouts % TIMEOUTS_PER_CHANNEL === 0 && !this.#link.isBlocked) this.#keeper.reset(reason);
      this.#probeSoon(0);
    }, this.#options.timeoutMs);
    // Without a channel, or while the broker reads nothing, the timeout above is the answer.
    if (this.#channel === null || this.#link.isBlocked) return;
    const messageId = `${this.#token} ${sequence}`;
    const options = { type: PROBE_TYPE, messageId, persistent: true, mandatory: true };
    try {
      this.#channel.publish('', this.#inbox, EMPTY, options, (error) => {
        if (error || sequence !== this.#sequence) return;
        this.#confirmed = true;
        this.#completeIfBoth();
        this.#onConfirmed();
      });
      this.#underWay++;
    } catch (error) {
      this.failed(`probe channel: ${messageOf(error)}`);
    }
  }

  #completeIfBoth(): void {
    if (!this.#confirmed || !this.#consumed) return;
    this.#timeouts = 0;
    if (this.#isWhole()) {
      this.#set(true, 'broker round trip works');
      this.#probeSoon(this.#options.intervalMs);
    } else {
      this.failed('a broker channel is down');
      this.#probeSoon(WHOLE_RETRY_MS);
    }
  }

  #set(works: boolean, because: string): void {
    const reason = works ? because : (this.#topology.mismatch ?? because);
    if (works === this.#works && reason === this.#reason) return;
    this.#works = works;
    this.#reason = reason;
    this.#onChange(works, reason);
  }
}

/** Whatever has a body, or names its receiver, is a reply in spite of its type. */
function isProbe({ properties: { type, headers }, content }: ConsumeMessage): boolean {
  const isAddressed = headers?.connection_id !== undefined || headers?.device_id !== undefined;
  return type === PROBE_TYPE && content.length === 0 && !isAddressed;
}

/** Probes in a row that may fail on one channel. */
const TIMEOUTS_PER_CHANNEL = 4;

/** How soon to look again when the probe came back while another channel was still being set up. */
const WHOLE_RETRY_MS = 100;
