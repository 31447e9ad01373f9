import type { TLSSocket } from 'node:tls';
import type { Frame, FrameSink, FrameSource } from '../frame.ts';
import type { Reply } from '../reply.ts';
import type { TimingWheel, WheelEntry } from '../util/timing-wheel.ts';
import {
  createDecoder,
  encodingProblem,
  type FrameDecoder,
  FrameTooLargeError,
  type FramingName,
} from './framing.ts';
import { type CloseReason, type ConnectionState, type Ending, OPEN, transition } from './lifecycle.ts';
import { Outbox } from './outbox.ts';
import { type Gap, Resequencer, type ResequencerLimits } from './resequencer.ts';

/**
 * One device connection, from the end of its TLS handshake to its last settled reply.
 *
 *   socket ──► decoder ──► FrameSink            (reads pause while the window or our own share of it is full)
 *   socket ◄── outbox ◄── resequencer ◄── deliver()
 *
 * There is one of these per connection, so it holds numbers rather than objects, creates what replies need with
 * the first reply, and shares its listeners, its deadlines' timer and its limits with all others.
 */
export interface EndpointLimits {
  readonly framing: FramingName;
  readonly maxFrameBytes: number;
  readonly maxUnconfirmedFrames: number;
  readonly maxUnconfirmedBytes: number;
  /** 0: never. */
  readonly idleTimeoutMs: number;
  /** 0: never. */
  readonly firstFrameTimeoutMs: number;
  readonly gapTimeoutMs: number;
  readonly onGap: 'skip' | 'close';
  readonly resequencer: ResequencerLimits;
  readonly maxPending: number;
  readonly maxPendingBytes: number;
  readonly writeTimeoutMs: number;
}

/** What the endpoints of a node share, and whom they tell. */
export interface EndpointHost {
  readonly limits: EndpointLimits;
  readonly sink: FrameSink;
  readonly deadlines: TimingWheel<Endpoint>;
  /** Monotonic clock in ms. */
  now(): number;
  /** Calls `endpoint.flush()` once at the end of this turn. */
  flushSoon(endpoint: Endpoint): void;
  frameReceived(bytes: number): void;
  framesSent(count: number, bytes: number): void;
  readsPaused(): void;
  readsResumed(): void;
  replyParked(delta: number): void;
  gapSkipped(endpoint: Endpoint, gap: Gap, waitedMs: number): void;
  /** The connection takes no more replies. */
  ended(endpoint: Endpoint): void;
  /** The socket is gone, all frames that were read are handed on, and every reply is settled. */
  closed(endpoint: Endpoint, ending: Ending): void;
}

/** Who is at the other end, as far as TCP and TLS told. */
export interface Peer {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly deviceId: string | undefined;
}

/** A batch is one TLS record, so that a slow device shows progress often enough to be told from a dead one. */
const MAX_BATCH_BYTES = 16_384;
/** How long a socket that was ended in an orderly way may take to flush and close. */
const CLOSE_GRACE_MS = 5_000;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * How an ending treats the socket. `flush`: waiting replies and a TLS close_notify are sent, and what the device
 * still writes until it closes too is read and published. `close`: the device has closed its side, Node accepts
 * no more writes. Anything else destroys.
 */
const MANNER: Partial<Record<CloseReason, 'flush' | 'close'>> = {
  shutdown: 'flush',
  idle_timeout: 'flush',
  first_frame_timeout: 'flush',
  reply_gap: 'flush',
  peer_closed: 'close',
  incomplete_frame: 'close',
};

type OwnedSocket = TLSSocket & { owslaEndpoint: Endpoint };

export class Endpoint implements FrameSource, WheelEntry {
  readonly connectionId: string;
  readonly peer: Peer;
  readonly openedAtMs: number;
  // The fields of a WheelEntry; public because the wheel threads its list through them.
  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  readonly #host: EndpointHost;
  readonly #socket: TLSSocket;
  readonly #decoder: FrameDecoder;
  #state: ConnectionState = OPEN;
  #socketClosed = false;
  /** No more bytes will come out of the socket. */
  #readEnded = false;
  #readPaused = false;
  #tooLarge = false;
  #waitingForRoom = false;

  #nextFromDeviceSeq = 0;
  #unconfirmedFrames = 0;
  #unconfirmedBytes = 0;
  #bytesReceived = 0;
  #lastReadAtMs: number;

  #resequencer: Resequencer<Reply> | null = null;
  #outbox: Outbox | null = null;
  #flushScheduled = false;
  #parkedReported = 0;
  #gapSinceMs = NEVER;
  #writeSinceMs = NEVER;
  #closeSinceMs = NEVER;
  #framesSent = 0;
  #bytesSent = 0;

  constructor(host: EndpointHost, connectionId: string, socket: TLSSocket, peer: Peer) {
    this.#host = host;
    this.connectionId = connectionId;
    this.peer = peer;
    this.#socket = socket;
    this.#decoder = createDecoder(host.limits.framing, host.limits.maxFrameBytes);
    this.openedAtMs = host.now();
    this.#lastReadAtMs = this.openedAtMs;
    (socket as OwnedSocket).owslaEndpoint = this;
    socket.on('data', onData);
    socket.on('end', onEnd);
    socket.on('error', onError);
    socket.on('close', onClose);
    this.#armDeadline();
  }

  get framesReceived(): number {
    return this.#nextFromDeviceSeq;
  }

  get bytesReceived(): number {
    return this.#bytesReceived;
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

  /**
   * The one place a connection ends: everything else only asks for it. The first reason counts.
   *
   * Frames that were read are still published, replies that no write has begun for are settled, and the socket
   * is flushed and closed, or destroyed where the device has shown that it does not cooperate.
   */
  end(ending: Ending): void {
    const next = transition(this.#state, { type: 'end', ending });
    if (next === this.#state) return;
    this.#state = next;
    this.#host.ended(this);
    this.#settleParked();
    const manner = this.#socketClosed ? undefined : MANNER[ending.reason];
    if (manner === undefined) {
      this.#destroy();
      return;
    }
    if (manner === 'close') {
      this.#readEnded = true;
      this.#settleWaiting();
    }
    this.#closeSinceMs = this.#host.now();
    this.#armDeadline();
    this.#endSocketOnceFlushed();
    this.#pump();
  }

  #destroy(): void {
    this.#takeUnreadBytes();
    this.#readEnded = true;
    this.#settleWaiting();
    this.#socket.destroy();
    this.#pump();
  }

  #endSocketOnceFlushed(): void {
    this.flush();
    if (this.#outbox === null || !this.#outbox.isWriting) this.#socket.end();
  }

  // ── device → broker ──────────────────────────────────────────────────────────────────────────────────────

  receive(chunk: Buffer): void {
    this.#lastReadAtMs = this.#host.now();
    this.#bytesReceived += chunk.length;
    this.#decoder.push(chunk);
    this.#pump();
  }

  frameConfirmed(frame: Frame): void {
    this.#unconfirmedFrames--;
    this.#unconfirmedBytes -= frame.body.length;
    if (this.#readPaused && !this.#waitingForRoom && this.#isBelowHalfShare()) this.#pump();
  }

  roomAvailable(): void {
    this.#waitingForRoom = false;
    this.#pump();
  }

  /** Hands on frames until none is whole, or the window or this connection's share of it is full. */
  #pump(): void {
    if (this.#waitingForRoom) return;
    const { sink } = this.#host;
    while (this.#decoder.bufferedBytes > 0) {
      if (!sink.hasRoom) {
        this.#setReadPaused(true);
        this.#waitingForRoom = true;
        sink.waitForRoom(this);
        return;
      }
      // Once nothing more can be read there is nothing to hold back: what was read goes out.
      if (!this.#readEnded && !this.#hasShare()) {
        this.#setReadPaused(true);
        return;
      }
      const body = this.#nextFrame();
      if (body === undefined) break;
      this.#publish(body);
    }
    this.#setReadPaused(false);
    this.#finishIfDone();
  }

  #nextFrame(): Buffer | undefined {
    if (this.#tooLarge) return undefined;
    try {
      return this.#decoder.next();
    } catch (error) {
      if (!(error instanceof FrameTooLargeError)) throw error;
      this.#tooLarge = true;
      this.end({ reason: 'frame_too_large', detail: error.message, limit: error.limit, value: error.value });
      return undefined;
    }
  }

  #publish(body: Buffer): void {
    this.#unconfirmedFrames++;
    this.#unconfirmedBytes += body.length;
    this.#host.frameReceived(body.length);
    this.#host.sink.publish({
      connectionId: this.connectionId,
      deviceId: this.peer.deviceId,
      fromDeviceSeq: this.#nextFromDeviceSeq++,
      body,
      readAtMs: Date.now(),
      source: this,
    });
  }

  #hasShare(): boolean {
    const { maxUnconfirmedFrames, maxUnconfirmedBytes } = this.#host.limits;
    return this.#unconfirmedFrames < maxUnconfirmedFrames && this.#unconfirmedBytes < maxUnconfirmedBytes;
  }

  #isBelowHalfShare(): boolean {
    const { maxUnconfirmedFrames, maxUnconfirmedBytes } = this.#host.limits;
    return (
      this.#unconfirmedFrames * 2 <= maxUnconfirmedFrames && this.#unconfirmedBytes * 2 <= maxUnconfirmedBytes
    );
  }

  #setReadPaused(paused: boolean): void {
    if (paused === this.#readPaused) return;
    this.#readPaused = paused;
    if (paused) {
      this.#socket.pause();
      this.#host.readsPaused();
    } else {
      this.#host.readsResumed();
      if (!this.#readEnded) this.#socket.resume();
    }
  }

  /** What Node has read and decrypted but not handed out counts as read: it must be published too. */
  #takeUnreadBytes(): void {
    if (this.#readEnded || this.#tooLarge) return;
    this.#socket.pause();
    for (let chunk = this.#socket.read(); chunk !== null; chunk = this.#socket.read()) {
      this.#bytesReceived += chunk.length;
      this.#decoder.push(chunk);
    }
  }

  // ── broker → device ──────────────────────────────────────────────────────────────────────────────────────

  /** Takes a reply; settles it when its bytes are with the kernel, or its fate is known. */
  deliver(reply: Reply): void {
    if (this.#state.phase !== 'open') {
      reply.settle('connection_closed', `connection ended: ${this.#state.ending.reason}`);
      return;
    }
    if (reply.toDeviceSeq === undefined) this.#enqueue(reply);
    else this.#deliverInOrder(reply, reply.toDeviceSeq);
  }

  #deliverInOrder(reply: Reply, seq: number): void {
    this.#resequencer ??= new Resequencer(this.#host.limits.resequencer);
    const resequencer = this.#resequencer;
    const nextBefore = resequencer.nextSeq;
    switch (resequencer.offer(seq, reply)) {
      case 'next':
        this.#enqueue(reply);
        this.#releaseReady();
        break;
      case 'parked':
        reply.detach();
        break;
      case 'duplicate_parked':
        reply.detach();
        resequencer.replaceParked(seq, reply)?.settle('duplicate');
        break;
      case 'duplicate':
        reply.settle('duplicate');
        break;
      case 'stale':
        reply.settle(
          'stale_sequence',
          `to_device_seq ${seq} was given up before, next is ${resequencer.nextSeq}`,
        );
        break;
      case 'overflow':
        reply.settle(
          'reorder_overflow',
          `to_device_seq ${seq} while waiting for ${resequencer.nextSeq}, ${resequencer.parkedCount} replies parked`,
        );
        break;
    }
    this.#gapMayHaveChanged(nextBefore);
  }

  #releaseReady(): void {
    for (
      let ready = this.#resequencer?.takeReady();
      ready !== undefined;
      ready = this.#resequencer?.takeReady()
    ) {
      this.#enqueue(ready);
    }
  }

  /** A gap's clock starts when something is parked behind it, and anew with each number that was waited for. */
  #gapMayHaveChanged(nextBefore: number): void {
    this.#reportParked();
    const resequencer = this.#resequencer!;
    if (!resequencer.hasGap) this.#gapSinceMs = NEVER;
    else if (this.#gapSinceMs === NEVER || resequencer.nextSeq !== nextBefore) {
      this.#gapSinceMs = this.#host.now();
      this.#armDeadline();
    }
  }

  #reportParked(): void {
    const parked = this.#resequencer?.parkedCount ?? 0;
    if (parked !== this.#parkedReported) this.#host.replyParked(parked - this.#parkedReported);
    this.#parkedReported = parked;
  }

  /** The reply's turn has come; one that cannot be delivered gives its place in the order up. */
  #enqueue(reply: Reply): void {
    if (reply.expiresAtMs !== undefined && Date.now() >= reply.expiresAtMs) {
      reply.settle('expired', `expires_at ${reply.expiresAtMs} has passed`);
      return;
    }
    if (this.#state.phase !== 'open') {
      reply.settle('connection_closed', `connection ended: ${this.#state.ending.reason}`);
      return;
    }
    const problem = encodingProblem(this.#host.limits.framing, reply.body);
    if (problem !== undefined) {
      reply.settle('bad_body', problem);
      return;
    }
    this.#outbox ??= new Outbox();
    const outbox = this.#outbox;
    if (outbox.isWriting) reply.detach();
    outbox.push(reply);
    const { maxPending, maxPendingBytes } = this.#host.limits;
    if (outbox.count > maxPending) {
      this.end({
        reason: 'slow_consumer',
        detail: 'too many replies wait for the socket (reply.maxPending)',
        limit: maxPending,
        value: outbox.count,
      });
    } else if (outbox.bytes > maxPendingBytes && outbox.count > 1) {
      this.end({
        reason: 'slow_consumer',
        detail: 'too many bytes of replies wait for the socket (reply.maxPendingBytes)',
        limit: maxPendingBytes,
        value: outbox.bytes,
      });
    } else if (!outbox.isWriting && !this.#flushScheduled) {
      this.#flushScheduled = true;
      this.#host.flushSoon(this);
    }
  }

  /** Writes the next batch unless one is under way. */
  flush(): void {
    this.#flushScheduled = false;
    const outbox = this.#outbox;
    if (outbox === null || outbox.isWriting || !outbox.hasWaiting || this.#socketClosed) return;
    const bytes = outbox.startWrite(this.#host.limits.framing, MAX_BATCH_BYTES);
    this.#writeSinceMs = this.#host.now();
    this.#armDeadline();
    this.#socket.write(bytes, (error) => this.#written(error ?? undefined));
  }

  #written(error: Error | undefined): void {
    this.#writeSinceMs = NEVER;
    // Node also calls back without an error for a write that a destroyed socket never made.
    if (error !== undefined || this.#socket.destroyed) {
      this.#settleAtEnd(this.#outbox!.takeWritten());
      return;
    }
    const written = this.#outbox!.takeWritten();
    let bytes = 0;
    for (const reply of written) {
      bytes += reply.byteLength;
      reply.settle('delivered');
    }
    this.#framesSent += written.length;
    this.#bytesSent += bytes;
    this.#host.framesSent(written.length, bytes);
    if (this.#state.phase === 'open') this.flush();
    else if (!this.#readEnded) this.#endSocketOnceFlushed();
  }

  #settleParked(): void {
    const parked = this.#resequencer?.drain() ?? [];
    this.#gapSinceMs = NEVER;
    this.#reportParked();
    this.#settleAtEnd(parked);
  }

  #settleWaiting(): void {
    this.#settleAtEnd(this.#outbox?.takeWaiting() ?? []);
  }

  #settleAtEnd(replies: Reply[]): void {
    if (replies.length === 0) return;
    const reason = this.#state.phase === 'open' ? 'socket_error' : this.#state.ending.reason;
    const outcome = reason === 'slow_consumer' ? 'slow_consumer' : 'connection_closed';
    for (const reply of replies) reply.settle(outcome, `connection ended: ${reason}`);
  }

  // ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────

  /** Called by the wheel when the earliest deadline may have passed. */
  deadlinePassed(nowMs: number): void {
    const { limits } = this.#host;
    if (this.#state.phase !== 'open') {
      if (nowMs - this.#closeSinceMs >= CLOSE_GRACE_MS) this.#destroy();
    } else if (nowMs - this.#writeSinceMs >= limits.writeTimeoutMs) {
      this.end({
        reason: 'slow_consumer',
        detail: 'the device takes no replies (reply.writeTimeoutMs)',
        limit: limits.writeTimeoutMs,
        value: Math.round(nowMs - this.#writeSinceMs),
      });
    } else if (nowMs - this.#gapSinceMs >= limits.gapTimeoutMs) {
      this.#gapTimedOut(nowMs);
    } else if (nowMs >= this.#firstFrameDueMs()) {
      this.end({
        reason: 'first_frame_timeout',
        limit: limits.firstFrameTimeoutMs,
        value: Math.round(nowMs - this.openedAtMs),
      });
    } else if (nowMs >= this.#idleDueMs()) {
      this.end({
        reason: 'idle_timeout',
        limit: limits.idleTimeoutMs,
        value: Math.round(nowMs - this.#lastReadAtMs),
      });
    }
    if (!this.#socketClosed) this.#armDeadline();
  }

  #gapTimedOut(nowMs: number): void {
    const waitedMs = nowMs - this.#gapSinceMs;
    const resequencer = this.#resequencer!;
    if (this.#host.limits.onGap === 'close') {
      this.end({
        reason: 'reply_gap',
        detail: `to_device_seq ${resequencer.nextSeq} is missing`,
        limit: this.#host.limits.gapTimeoutMs,
        value: Math.round(waitedMs),
      });
      return;
    }
    const nextBefore = resequencer.nextSeq;
    const gap = resequencer.skipGap();
    if (gap === undefined) return;
    this.#host.gapSkipped(this, gap, waitedMs);
    this.#releaseReady();
    this.#gapMayHaveChanged(nextBefore);
  }

  /** The gateway itself holds a paused device back, so its silence says nothing. */
  #idleDueMs(): number {
    const { idleTimeoutMs } = this.#host.limits;
    if (idleTimeoutMs === 0) return NEVER;
    return this.#readPaused ? this.#host.now() + idleTimeoutMs : this.#lastReadAtMs + idleTimeoutMs;
  }

  #firstFrameDueMs(): number {
    const { firstFrameTimeoutMs } = this.#host.limits;
    return firstFrameTimeoutMs === 0 || this.#nextFromDeviceSeq > 0
      ? NEVER
      : this.openedAtMs + firstFrameTimeoutMs;
  }

  /** Sees to it that the wheel looks at this endpoint no later than its earliest deadline. */
  #armDeadline(): void {
    const { limits, deadlines } = this.#host;
    const dueMs =
      this.#state.phase === 'open'
        ? Math.min(
            this.#idleDueMs(),
            this.#firstFrameDueMs(),
            this.#gapSinceMs + limits.gapTimeoutMs,
            this.#writeSinceMs + limits.writeTimeoutMs,
          )
        : this.#closeSinceMs + CLOSE_GRACE_MS;
    if (dueMs === NEVER) return;
    if (this.wheelSlot === -1 || dueMs < this.wheelDueMs) deadlines.arm(this, dueMs);
  }

  // ── the socket's end ─────────────────────────────────────────────────────────────────────────────────────

  peerEnded(): void {
    this.#readEnded = true;
    const rest = this.#decoder.bufferedBytes;
    if (rest === 0) this.end({ reason: 'peer_closed' });
    else
      this.end({
        reason: 'incomplete_frame',
        detail: `the device closed ${rest} bytes into a frame`,
        value: rest,
      });
  }

  socketFailed(error: NodeJS.ErrnoException): void {
    const reset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    this.end({ reason: reset ? 'peer_reset' : 'socket_error', detail: error.message });
  }

  socketClosed(): void {
    this.#socketClosed = true;
    this.#readEnded = true;
    this.end({ reason: 'peer_closed' });
    this.#host.deadlines.disarm(this);
    this.#settleWaiting();
    this.#settleAtEnd(this.#outbox?.takeWritten() ?? []);
    this.#pump();
  }

  /** The last step of `end`: the socket is gone and no frame waits for room. */
  #finishIfDone(): void {
    if (!this.#socketClosed || this.#waitingForRoom) return;
    const next = transition(this.#state, { type: 'finished' });
    if (next === this.#state || next.phase !== 'closed') return;
    this.#state = next;
    this.#host.closed(this, next.ending);
  }
}

// Shared by all sockets, which carry their endpoint: no closure per connection.

function onData(this: TLSSocket, chunk: Buffer): void {
  (this as OwnedSocket).owslaEndpoint.receive(chunk);
}

function onEnd(this: TLSSocket): void {
  (this as OwnedSocket).owslaEndpoint.peerEnded();
}

function onError(this: TLSSocket, error: NodeJS.ErrnoException): void {
  (this as OwnedSocket).owslaEndpoint.socketFailed(error);
}

function onClose(this: TLSSocket): void {
  (this as OwnedSocket).owslaEndpoint.socketClosed();
}
