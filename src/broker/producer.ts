import type { Logger } from 'pino';
import type { Frame, FrameSink, FrameSource } from '../frame.ts';
import type { Backoff } from '../util/backoff.ts';
import type { BrokerLink } from './broker-link.ts';
import { ConfirmedPublisher } from './confirmed-publisher.ts';
import { int64 } from './envelope.ts';
import { shardOf } from './shard.ts';
import type { Topology } from './topology.ts';

/**
 * The one producer of a node: device frames go through it to `from_device`, each kept until it is confirmed.
 *
 * Its window is bounded in messages and bytes. While it is full, sources that have more to give wait in line and
 * are let in first come first served, as many at a time as there is room for; nobody else is touched.
 */
export interface ProducerObserver {
  /** A confirm arrived for a frame that was read this long ago; observed once for each confirm, not each frame. */
  frameConfirmed(latencyMs: number): void;
  frameRepublished(): void;
  /** It is larger than the broker takes. */
  frameRefused(): void;
}

export interface ProducerLimits {
  readonly windowMessages: number;
  readonly windowBytes: number;
}

/** Sources are let in again when the window is this far down, so that they come in batches. */
const RESUME_BELOW = 0.75;

export class Producer implements FrameSink {
  readonly #limits: ProducerLimits;
  readonly #observer: ProducerObserver;
  readonly #log: Logger;
  readonly #publisher: ConfirmedPublisher<Frame>;
  /** Sources in line, first come first; a Set so that one in line costs the same wherever it stands. */
  readonly #waiting = new Set<FrameSource>();
  /** Those in line are being let in: only then is room for somebody while others wait. */
  #lettingIn = false;
  #bytes = 0;
  #confirmedReadAtMs = 0;

  constructor(
    link: BrokerLink,
    topology: Topology,
    limits: ProducerLimits,
    backoff: Backoff,
    observer: ProducerObserver,
    log: Logger,
  ) {
    this.#limits = limits;
    this.#observer = observer;
    this.#log = log;
    const { fromDevice, inbox } = topology.names;
    this.#publisher = new ConfirmedPublisher<Frame>(
      link,
      {
        name: 'producer',
        // The inbox too: frames name it as reply_to, and a backend may be quick.
        prepare: (model) => topology.declare(model, 'deadLetter', 'fromDevice', 'undelivered', 'inbox'),
        queueOf: (frame) => fromDevice[shardOf(frame.connectionId, fromDevice.length)]!,
        send: (channel, frame, republished, queue) => {
          if (republished) this.#observer.frameRepublished();
          return channel.publish('', queue!, frame.body, {
            headers: frameHeaders(frame, republished),
            persistent: true,
            mandatory: true,
            replyTo: inbox,
            timestamp: Math.floor(frame.readAtMs / 1_000),
          });
        },
        bytesOf: (frame) => frame.body.length,
        refused: (frame, maxBytes) => this.#refused(frame, maxBytes),
        confirmed: (frame) => this.#confirmed(frame),
      },
      backoff,
      log,
    );
  }

  get isUp(): boolean {
    return this.#publisher.isUp;
  }

  get unconfirmedFrames(): number {
    return this.#publisher.size;
  }

  get unconfirmedBytes(): number {
    return this.#bytes;
  }

  /** While sources wait in line nobody else has room: who comes now waits behind them. */
  get hasRoom(): boolean {
    return (this.#waiting.size === 0 || this.#lettingIn) && !this.#isFull;
  }

  get #isFull(): boolean {
    return this.#publisher.size >= this.#limits.windowMessages || this.#bytes >= this.#limits.windowBytes;
  }

  publish(frame: Frame): void {
    this.#bytes += frame.body.length;
    this.#publisher.push(frame);
  }

  waitForRoom(source: FrameSource): void {
    this.#waiting.add(source);
  }

  /** Resolves when every frame is confirmed and no source waits. Bounded by the caller. */
  async idle(): Promise<void> {
    while (this.#publisher.size > 0 || this.#waiting.size > 0) {
      await this.#publisher.idle();
      // Those in line are let in at the end of the turn of the last confirm.
      await new Promise(setImmediate);
    }
  }

  async stop(): Promise<void> {
    await this.#publisher.stop();
  }

  #confirmed(frame: Frame): void {
    this.#bytes -= frame.body.length;
    frame.source.frameConfirmed(frame);
    if (this.#confirmedReadAtMs === 0) setImmediate(() => this.#afterConfirms());
    this.#confirmedReadAtMs = frame.readAtMs;
  }

  #refused(frame: Frame, maxBytes: number): void {
    const { connectionId, fromDeviceSeq, body } = frame;
    this.#bytes -= body.length;
    this.#observer.frameRefused();
    this.#log.warn({ connectionId, fromDeviceSeq, bytes: body.length, maxBytes }, 'frame refused: too large');
    frame.source.frameRefused(frame, maxBytes);
    // Perhaps nothing is left whose confirm would let them in.
    setImmediate(() => this.#letIn());
  }

  /** Once for all confirms of a turn. */
  #afterConfirms(): void {
    this.#observer.frameConfirmed(Math.max(0, Date.now() - this.#confirmedReadAtMs));
    this.#confirmedReadAtMs = 0;
    this.#letIn();
  }

  /** Those in line, once the window is low. */
  #letIn(): void {
    const isLow =
      this.#publisher.size <= this.#limits.windowMessages * RESUME_BELOW &&
      this.#bytes <= this.#limits.windowBytes * RESUME_BELOW;
    if (!isLow) return;
    this.#lettingIn = true;
    for (const source of this.#waiting) {
      if (this.#isFull) break;
      this.#waiting.delete(source);
      source.roomAvailable();
    }
    this.#lettingIn = false;
  }
}

function frameHeaders(frame: Frame, republished: boolean): Record<string, unknown> {
  const headers: Record<string, unknown> = {
    connection_id: frame.connectionId,
    from_device_seq: int64(frame.fromDeviceSeq),
  };
  if (frame.deviceId !== undefined) headers.device_id = frame.deviceId;
  if (republished) headers.republished = true;
  return headers;
}
