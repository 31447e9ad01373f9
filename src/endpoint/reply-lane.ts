import { REPLY_OVERHEAD_BYTES, type Reply } from '../reply.ts';
import { type AckLimits, DeviceAck } from './device-ack.ts';
import { encodingProblem, type FramingName } from './framing.ts';
import type { CloseReason, Ending } from './lifecycle.ts';
import { Outbox } from './outbox.ts';
import { type Gap, Resequencer, type ResequencerLimits } from './resequencer.ts';

/**
 * The way of one connection's replies to its socket: put in order, checked, written, settled. Made with the first
 * reply; a connection that only sends never has one.
 *
 *   deliver() ──► Resequencer ──► Outbox ──► socket.write ──► settle('delivered')
 *                 parks            one write at a time
 */
export interface LaneLimits {
  readonly framing: FramingName;
  readonly gapTimeoutMs: number;
  readonly onGap: 'skip' | 'close';
  readonly resequencer: ResequencerLimits;
  readonly maxReplyBytes: number;
  readonly maxPending: number;
  readonly maxPendingBytes: number;
  readonly writeTimeoutMs: number;
  readonly ack: AckLimits;
}

/** The connection that a lane belongs to. */
export interface LaneOwner {
  end(ending: Ending): void;
  /** Writes to the socket; calls back when the kernel has taken the bytes, or never will. */
  write(bytes: Buffer, done: (error: Error | undefined) => void): void;
  /** A deadline of the lane is nearer than before. */
  laneDeadlineChanged(): void;
  /** The last write has ended and nothing waits for another. */
  laneIdle(): void;
  laneSkippedGap(gap: Gap, waitedMs: number): void;
}

/** What the lanes of a node share, and whom they tell. */
export interface LaneHost {
  readonly limits: LaneLimits;
  /** Monotonic clock in ms. */
  now(): number;
  /** Calls `lane.flush()` once at the end of this turn. */
  flushSoon(lane: ReplyLane): void;
  framesSent(count: number, bytes: number): void;
  replyParked(delta: number): void;
  /** The lane has begun, or ceased, to have replies that are not settled. */
  holdingChanged(lane: ReplyLane, holding: boolean): void;
}

/** A batch is one TLS record, so that a slow device shows progress often enough to be told from a dead one. */
const MAX_BATCH_BYTES = 16_384;
/** How long a device with too much waiting may take for one batch. */
const EXCESS_PATIENCE_MS = 1_000;
const NEVER = Number.POSITIVE_INFINITY;

export class ReplyLane {
  readonly #owner: LaneOwner;
  readonly #host: LaneHost;
  readonly #outbox = new Outbox();
  #resequencer: Resequencer<Reply> | null = null;
  #ack: DeviceAck | null = null;
  /** Why the connection has ended; then the lane takes nothing more. */
  #ended: CloseReason | null = null;
  /** The socket takes no more. */
  #writeEnded = false;
  #flushScheduled = false;
  #parkedReported = 0;
  #holding = false;
  #framesSent = 0;
  #bytesSent = 0;
  #ackDueMs = NEVER;
  #gapSinceMs = NEVER;
  #writeSinceMs = NEVER;

  constructor(owner: LaneOwner, host: LaneHost) {
    this.#owner = owner;
    this.#host = host;
  }

  get framesSent(): number {
    return this.#framesSent;
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** The last `to_device_seq` that was passed, or -1. */
  get lastToDeviceSeq(): number {
    return (this.#resequencer?.nextSeq ?? 0) - 1;
  }

  /** A write is under way, or something waits for one. */
  get isBusy(): boolean {
    return this.#outbox.count > 0;
  }

  // ── in order ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes a reply while the connection is open; settles it when its fate is known. */
  deliver(reply: Reply): void {
    if (reply.toDeviceSeq === undefined) {
      this.#enqueue(reply);
      return;
    }
    this.#resequencer ??= new Resequencer(this.#host.limits.resequencer);
    const nextBefore = this.#resequencer.nextSeq;
    this.#deliverInOrder(this.#resequencer, reply, reply.toDeviceSeq);
    this.#gapMayHaveChanged(this.#resequencer, nextBefore);
  }

  #deliverInOrder(resequencer: Resequencer<Reply>, reply: Reply, seq: number): void {
    switch (resequencer.offer(seq, reply)) {
      case 'next':
        this.#enqueue(reply);
        this.#releaseReady(resequencer);
        break;
      case 'parked':
        reply.detach();
        break;
      case 'duplicate_parked':
        reply.detach();
        resequencer.replaceParked(seq, reply)?.settle('duplicate');
        break;
      case 'duplicate':
        if (!this.#takesPlace(reply)) reply.settle('duplicate');
        break;
      case 'stale':
        // A number may be called stale that is not; see Resequencer.
        if (!this.#takesPlace(reply))
          reply.settle(
            'stale_sequence',
            `to_device_seq ${seq} was given up before, next is ${resequencer.nextSeq}`,
          );
        break;
      case 'overflow': {
        const { nextSeq, parkedCount } = resequencer;
        reply.settle(
          'reorder_overflow',
          `to_device_seq ${seq} while waiting for ${nextSeq}, ${parkedCount} replies parked`,
        );
        break;
      }
    }
  }

  /**
   * A copy of a reply that the socket has not taken yet takes its place: the broker has delivered it again because the
   * channel of the first is gone, and to acknowledge it now would leave the reply with nobody.
   * @returns whether there is one
   */
  #takesPlace(copy: Reply): boolean {
    const older = this.#outbox.replace(copy);
    if (older === undefined) return false;
    copy.detach();
    older.settle('duplicate');
    return true;
  }

  #releaseReady(resequencer: Resequencer<Reply>): void {
    for (let ready = resequencer.takeReady(); ready !== undefined; ready = resequencer.takeReady()) {
      this.#enqueue(ready);
    }
  }

  /** A gap's clock starts when something is parked behind it, and anew with each number that was waited for. */
  #gapMayHaveChanged(resequencer: Resequencer<Reply>, nextBefore: number): void {
    this.#reportParked();
    if (!resequencer.hasGap) this.#gapSinceMs = NEVER;
    else if (this.#gapSinceMs === NEVER || resequencer.nextSeq !== nextBefore) {
      this.#gapSinceMs = this.#host.now();
      this.#owner.laneDeadlineChanged();
    }
  }

  #gapTimedOut(resequencer: Resequencer<Reply>, waitedMs: number): void {
    if (this.#host.limits.onGap === 'close') {
      const detail = `to_device_seq ${resequencer.nextSeq} is missing`;
      const limit = this.#host.limits.gapTimeoutMs;
      this.#owner.end({ reason: 'reply_gap', detail, limit, value: Math.round(waitedMs) });
      return;
    }
    const nextBefore = resequencer.nextSeq;
    const gap = resequencer.skipGap();
    if (gap === undefined) return;
    this.#owner.laneSkippedGap(gap, waitedMs);
    this.#releaseReady(resequencer);
    this.#gapMayHaveChanged(resequencer, nextBefore);
  }

  /** Replies of this connection that are not settled. */
  get held(): number {
    return this.#outbox.count + this.#parkedReported;
  }

  /** What they take in memory. */
  get heldBytes(): number {
    const parkedBytes = this.#resequencer?.parkedBytes ?? 0;
    return this.#outbox.bytes + parkedBytes + this.held * REPLY_OVERHEAD_BYTES;
  }

  /** The replies will stay for a while: they keep no read buffer of the broker's connection alive. */
  detach(): void {
    this.#outbox.detachWriting();
  }

  /** It has held replies for that long without getting on with any. */
  isStuck(ms: number): boolean {
    return this.#host.now() - Math.min(this.#writeSinceMs, this.#gapSinceMs) >= ms;
  }

  /** Frees what it holds because it holds others up: a gap is given up, a device that takes nothing is closed. */
  letGo(): void {
    const waitedMs = this.#host.now() - this.#gapSinceMs;
    if (this.#resequencer !== null && this.#parkedReported > this.#outbox.count) {
      this.#gapTimedOut(this.#resequencer, waitedMs);
      return;
    }
    const detail =
      'the device takes its replies so slowly that they hold up those of others (reply.maxHeldBytes)';
    this.#owner.end({ reason: 'slow_consumer', detail, value: this.held });
  }

  #reportHolding(): void {
    const holding = this.held > 0;
    if (holding === this.#holding) return;
    this.#holding = holding;
    this.#host.holdingChanged(this, holding);
  }

  #reportParked(): void {
    const parked = this.#resequencer?.parkedCount ?? 0;
    if (parked !== this.#parkedReported) this.#host.replyParked(parked - this.#parkedReported);
    this.#parkedReported = parked;
    this.#reportHolding();
  }

  // ── to the socket ────────────────────────────────────────────────────────────────────────────────────────

  /** The reply's turn has come; one that cannot be delivered gives its place in the order up. */
  #enqueue(reply: Reply): void {
    if (this.#ended !== null) {
      this.#settleAtEnd([reply], this.#ended);
      return;
    }
    if (reply.expiresAtMs !== undefined && Date.now() >= reply.expiresAtMs) {
      this.#giveUpExpired(reply);
      return;
    }
    const problem = this.#bodyProblem(reply.body);
    if (problem !== undefined) {
      this.#giveUp(reply, 'bad_body', problem);
      return;
    }
    if (this.#outbox.isWriting) reply.detach();
    this.#outbox.push(reply);
    this.#reportHolding();
    this.#flushSoon();
    if (this.#excess() !== undefined) this.#owner.laneDeadlineChanged();
  }

  #bodyProblem(body: Buffer): string | undefined {
    const { framing, maxReplyBytes } = this.#host.limits;
    return body.length > maxReplyBytes
      ? `${body.length} bytes, more than ${maxReplyBytes} (reply.maxBytes)`
      : encodingProblem(framing, body);
  }

  /**
   * The ending of a device that has too much waiting, if it has. A burst alone is not its fault: the limits are held
   * against it only when it has not taken a single batch for a while.
   */
  #excess(): Ending | undefined {
    const { maxPending, maxPendingBytes } = this.#host.limits;
    const { count, bytes } = this.#outbox;
    if (count > maxPending) {
      const detail = 'too many replies wait for the socket (reply.maxPending)';
      return { reason: 'slow_consumer', detail, limit: maxPending, value: count };
    }
    if (bytes > maxPendingBytes && count > 1) {
      const detail = 'too many bytes of replies wait for the socket (reply.maxPendingBytes)';
      return { reason: 'slow_consumer', detail, limit: maxPendingBytes, value: bytes };
    }
    return undefined;
  }

  #flushSoon(): void {
    // While a write is under way, its end flushes.
    if (this.#flushScheduled || this.#outbox.isWriting) return;
    this.#flushScheduled = true;
    this.#host.flushSoon(this);
  }

  /** Writes the next batch unless a write is under way. */
  flush(): void {
    this.#flushScheduled = false;
    if (this.#outbox.isWriting || this.#writeEnded) return;
    this.#dropExpired();
    this.#enqueueAck();
    if (!this.#outbox.hasWaiting) return;
    const bytes = this.#outbox.startWrite(this.#host.limits.framing, MAX_BATCH_BYTES);
    this.#writeSinceMs = this.#host.now();
    this.#owner.laneDeadlineChanged();
    this.#owner.write(bytes, (error) => this.#written(error));
  }

  /** A slow device may have kept them waiting for long. */
  #dropExpired(): void {
    const expired = this.#outbox.takeExpired(Date.now());
    if (expired.length === 0) return;
    this.#reportHolding();
    for (const reply of expired) this.#giveUpExpired(reply);
  }

  #giveUpExpired(reply: Reply): void {
    this.#giveUp(reply, 'expired', `expires_at ${reply.expiresAtMs} has passed`);
  }

  /** If the broker delivers it again, its fate has perhaps not been recorded: the copy gets one too. */
  #giveUp(reply: Reply, outcome: 'expired' | 'bad_body', detail: string): void {
    if (reply.toDeviceSeq !== undefined) this.#resequencer?.giveUp(reply.toDeviceSeq);
    reply.settle(outcome, detail);
  }

  #written(error: Error | undefined): void {
    this.#writeSinceMs = NEVER;
    const written = this.#outbox.takeWritten();
    this.#reportHolding();
    if (error !== undefined) {
      this.#settleAtEnd(written, this.#ended ?? 'socket_error');
      return;
    }
    let bytes = 0;
    for (const reply of written) {
      bytes += reply.byteLength;
      reply.settle('delivered');
    }
    this.#framesSent += written.length;
    this.#bytesSent += bytes;
    this.#host.framesSent(written.length, bytes);
    this.flush();
    if (!this.#outbox.isWriting) this.#owner.laneIdle();
  }

  // ── acknowledgements to the device ───────────────────────────────────────────────────────────────────────

  /** Notes that the broker has confirmed a frame; the device is told of it together with others. */
  frameConfirmed(seq: number): void {
    const { every, intervalMs } = this.#host.limits.ack;
    this.#ack ??= new DeviceAck();
    this.#ack.confirm(seq);
    if (this.#ack.untold >= every || (this.#ended !== null && this.#ack.untold > 0)) this.#flushSoon();
    else if (this.#ack.untold > 0 && this.#ackDueMs === NEVER) {
      this.#ackDueMs = this.#host.now() + intervalMs;
      this.#owner.laneDeadlineChanged();
    }
  }

  /** What there is to tell leaves with the next write, whether it is due or not. */
  #enqueueAck(): void {
    this.#ackDueMs = NEVER;
    if (this.#ack !== null && this.#ack.untold > 0)
      this.#outbox.push(this.#ack.take(this.#host.limits.ack.template));
  }

  // ── deadlines and the end ────────────────────────────────────────────────────────────────────────────────

  /** When `deadlinePassed` should look next: monotonic ms, or `Infinity`. */
  get dueMs(): number {
    const { gapTimeoutMs, writeTimeoutMs } = this.#host.limits;
    const patienceMs =
      this.#excess() === undefined ? writeTimeoutMs : Math.min(EXCESS_PATIENCE_MS, writeTimeoutMs);
    return Math.min(this.#gapSinceMs + gapTimeoutMs, this.#writeSinceMs + patienceMs, this.#ackDueMs);
  }

  deadlinePassed(nowMs: number): void {
    const { gapTimeoutMs, writeTimeoutMs } = this.#host.limits;
    const writingMs = nowMs - this.#writeSinceMs;
    if (writingMs >= writeTimeoutMs) {
      const detail = 'the device takes no replies (reply.writeTimeoutMs)';
      this.#owner.end({
        reason: 'slow_consumer',
        detail,
        limit: writeTimeoutMs,
        value: Math.round(writingMs),
      });
      return;
    }
    const excess = writingMs >= EXCESS_PATIENCE_MS ? this.#excess() : undefined;
    if (excess !== undefined) {
      this.#owner.end(excess);
      return;
    }
    if (nowMs >= this.#ackDueMs) this.flush();
    const waitedMs = nowMs - this.#gapSinceMs;
    if (waitedMs >= gapTimeoutMs && this.#resequencer !== null)
      this.#gapTimedOut(this.#resequencer, waitedMs);
  }

  /** The connection ends: what is parked gets its fate, and so does what comes from now on. */
  ended(reason: CloseReason): void {
    this.#ended = reason;
    this.#gapSinceMs = NEVER;
    const parked = this.#resequencer?.drain() ?? [];
    this.#reportParked();
    this.#settleAtEnd(parked, reason);
  }

  /** Nothing more will be written: what no write has begun for gets its fate. */
  abandonWaiting(): void {
    this.#writeEnded = true;
    const waiting = this.#outbox.takeWaiting();
    this.#reportHolding();
    this.#settleAtEnd(waiting, this.#ended ?? 'socket_error');
  }

  /** The socket is closed; Node does not promise to call back for a write under way. */
  abandonAll(): void {
    this.abandonWaiting();
    const written = this.#outbox.takeWritten();
    this.#reportHolding();
    this.#settleAtEnd(written, this.#ended ?? 'socket_error');
  }

  #settleAtEnd(replies: Reply[], reason: CloseReason): void {
    const outcome = reason === 'slow_consumer' ? 'slow_consumer' : 'connection_closed';
    for (const reply of replies) reply.settle(outcome, `connection ended: ${reason}`);
  }
}
