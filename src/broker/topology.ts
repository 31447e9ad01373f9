import type { Channel, ChannelModel, Options } from 'amqplib';
import type { Logger } from 'pino';
import { BrokerError, messageOf } from './broker-error.ts';

/**
 * The queues and the exchange that a node needs, declared so that RabbitMQ 3.10 and 4.x both take them: always
 * durable, always with an explicit x-queue-type.
 *
 *   from_device ──(given back too often)──► from_device.dead_letter
 *   to_device ────(given back too often)──► undelivered
 *   owsla.inbox.<node> ──(its node is gone)──► undelivered
 */
export interface TopologyNames {
  /** One queue, or one per shard. */
  readonly fromDevice: readonly string[];
  readonly deadLetter: string;
  readonly toDevice: string;
  readonly undelivered: string;
  readonly inbox: string;
  readonly events: string;
}

export interface TopologyOptions {
  readonly queueType: 'quorum' | 'classic';
  readonly deliveryLimit: number;
  readonly inboxTtlMs: number;
  readonly inboxExpiresMs: number;
}

export type TopologyPart = keyof TopologyNames;

export class Topology {
  readonly names: TopologyNames;
  readonly #options: TopologyOptions;
  readonly #log: Logger;
  /** What is wrong, by queue or exchange; each is said once, not by every channel at every attempt. */
  readonly #mismatches = new Map<string, string>();
  /** Declarations under way, so that eight consumers that return together declare their queue once. */
  readonly #underWay = new Map<string, { model: ChannelModel; done: Promise<void> }>();

  constructor(names: TopologyNames, options: TopologyOptions, log: Logger) {
    this.names = names;
    this.#options = options;
    this.#log = log;
  }

  /** What keeps the node from working, if a queue or exchange does. */
  get mismatch(): string | undefined {
    return this.#mismatches.values().next().value;
  }

  /**
   * Declares the parts; does nothing for what exists already.
   * @throws BrokerError `topology_mismatch` when one exists with other arguments; it says which one
   */
  async declare(model: ChannelModel, ...parts: TopologyPart[]): Promise<void> {
    for (const part of parts) {
      for (const name of [this.names[part]].flat()) await this.#declareOnce(model, part, name);
    }
  }

  /** Declares the inbox of another node, unless it is there: it may have been configured otherwise. */
  async declareInbox(model: ChannelModel, name: string): Promise<void> {
    await this.declare(model, 'undelivered');
    if (await exists(model, name)) this.#mismatches.delete(name);
    else await this.#declareOnce(model, 'inbox', name);
  }

  #declareOnce(model: ChannelModel, part: TopologyPart, name: string): Promise<void> {
    const running = this.#underWay.get(name);
    if (running?.model === model) return running.done;
    const done = this.#declareOne(model, part, name).finally(() => {
      if (this.#underWay.get(name)?.done === done) this.#underWay.delete(name);
    });
    this.#underWay.set(name, { model, done });
    return done;
  }

  /** On a channel of its own, because the broker closes the channel of a declaration that it refuses. */
  async #declareOne(model: ChannelModel, part: TopologyPart, name: string): Promise<void> {
    const channel = await model.createChannel();
    // The refusal also rejects the declaration below.
    channel.on('error', () => {});
    try {
      await this.#assert(channel, part, name);
      await channel.close();
      this.#mismatches.delete(name);
    } catch (error) {
      if ((error as { code?: unknown }).code !== PRECONDITION_FAILED) throw error;
      const reason = mismatchMessage(name, error);
      if (this.#mismatches.get(name) !== reason) this.#log.error({ reason }, 'queue or exchange differs');
      this.#mismatches.set(name, reason);
      throw new BrokerError('topology_mismatch', reason, { cause: error });
    }
  }

  async #assert(channel: Channel, part: TopologyPart, name: string): Promise<void> {
    if (part === 'events') await channel.assertExchange(name, 'topic', { durable: true });
    else await channel.assertQueue(name, this.#queueOptions(part));
  }

  #queueOptions(part: Exclude<TopologyPart, 'events'>): Options.AssertQueue {
    const { queueType, deliveryLimit, inboxTtlMs, inboxExpiresMs } = this.#options;
    const args: Record<string, unknown> = { 'x-queue-type': queueType };
    const deadLetter = DEAD_LETTER[part];
    if (deadLetter !== undefined) {
      args['x-dead-letter-exchange'] = '';
      args['x-dead-letter-routing-key'] = this.names[deadLetter];
      if (queueType === 'quorum') {
        args['x-delivery-limit'] = deliveryLimit;
        // The move itself must not lose anything; the broker allows this only together with reject-publish.
        args['x-dead-letter-strategy'] = 'at-least-once';
        args['x-overflow'] = 'reject-publish';
      }
    }
    if (part === 'inbox') {
      args['x-message-ttl'] = inboxTtlMs;
      args['x-expires'] = inboxExpiresMs;
    }
    return { durable: true, arguments: args };
  }
}

const DEAD_LETTER: Partial<Record<TopologyPart, TopologyPart>> = {
  fromDevice: 'deadLetter',
  toDevice: 'undelivered',
  inbox: 'undelivered',
};

/** AMQP reply code of a declaration that differs from what exists. */
const PRECONDITION_FAILED = 406;
/** The one of a passive declaration of what does not exist. */
const NOT_FOUND = 404;

/** On a channel of its own, because the broker closes the channel that asks for a queue that is not there. */
async function exists(model: ChannelModel, queue: string): Promise<boolean> {
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    await channel.checkQueue(queue);
  } catch (error) {
    if ((error as { code?: unknown }).code === NOT_FOUND) return false;
    throw error;
  }
  await channel.close();
  return true;
}

function mismatchMessage(name: string, error: unknown): string {
  const said = /inequivalent arg '([^']+)'.*?: received (.+?) but current is (.+)$/.exec(messageOf(error));
  if (said === null) return `${name} exists and differs from what the gateway declares: ${messageOf(error)}`;
  const [argument, wanted, existing] = [said[1], bareValue(said[2]!), bareValue(said[3]!)];
  return `${name} exists with ${argument} ${existing}, the gateway declares ${wanted}: delete it, or configure the gateway to match`;
}

/** The broker says `the value 'quorum' of type 'longstr'`, or `none`. */
function bareValue(said: string): string {
  return /the value '([^']*)'/.exec(said)?.[1] ?? said.replaceAll(/["']/g, '');
}
