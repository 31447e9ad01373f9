import type { TLSSocket } from 'node:tls';
import type { Frame, FrameSource } from '../frame.ts';
import type { Reply } from '../reply.ts';
import type { WheelEntry } from '../util/timing-wheel.ts';
import type { EndpointHost, EndpointLimits, Peer } from './endpoint-host.ts';
import { createDecoder, type FrameDecoder, FrameTooLargeError } from './framing.ts';
import { type CloseReason, type ConnectionState, type Ending, OPEN, transition } from './lifecycle.ts';
import type { PeerState } from './peer-watch.ts';
import { nextFrameAt, paidUntil } from './read-rate.ts';
import { type LaneOwner, ReplyLane } from './reply-lane.ts';
import type { Gap } from './resequencer.ts';

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
  max_age: 'flush',
  reply_gap: 'flush',
  peer_closed: 'close',
  incomplete_frame: 'close',
};

type OwnedSocket = TLSSocket & { owslaEndpoint: Endpoint };

/**
 * One device connection, from the end of its TLS handshake to its last settled reply.
 *
 *   socket ──► decoder ──► FrameSink      (reads pause while the window or our own share of it is full, and when
 *                                          the device sends faster than it may)
 *   socket ◄── ReplyLane ◄── deliver()
 *
 * There is one of these per connection, so it holds numbers rather than objects, makes the lane with the first
 * reply, and shares its listeners, its deadlines' timer and its limits with all others.
 */
export class Endpoint implements FrameSource, LaneOwner, WheelEntry {
  readonly connectionId: string;
  readonly peer: Peer;
  readonly openedAtMs: number;
  // The fields of a WheelEntry; public because the wheel threads its list through them.
  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  readonly #host: EndpointHost;
  /** `null` once it is closed: it is by far the largest part of what then still waits. */
  #socket: TLSSocket | null;
  readonly #decoder: FrameDecoder;
  #state: ConnectionState = OPEN;
  /** No more bytes will come out of the socket. */
  #readEnded = false;
  /** The socket takes no more writes. */
  #writeEnded = false;
  #readPaused = false;
  #tooLarge = false;
  #peerSuspect = false;
  #waitingForRoom = false;
  #rateExceeded = false;

  #nextFromDeviceSeq = 0;
  #unconfirmedFrames = 0;
  #unconfirmedBytes = 0;
  #bytesReceived = 0;
  #paidUntilMs = 0;
  #lastReadAtMs: number;
  readonly #ageDueMs: number;

  #lane: ReplyLane | null = null;
  #closeSinceMs = NEVER;

  constructor(host: EndpointHost, connectionId: string, socket: TLSSocket, peer: Peer) {
    this.#host = host;
    this.connectionId = connectionId;
    this.peer = peer;
    this.#socket = socket;
    this.#decoder = createDecoder(host.limits.framing, host.limits.maxFrameBytes);
    this.openedAtMs = host.now();
    this.#lastReadAtMs = this.openedAtMs;
    this.#ageDueMs = this.openedAtMs + drawAge(host.limits);
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

  /** Body bytes, as everywhere. */
  get bytesReceived(): number {
    return this.#bytesReceived;
  }

  get framesSent(): number {
    return this.#lane?.framesSent ?? 0;
  }

  get bytesSent(): number {
    return this.#lane?.bytesSent ?? 0;
  }

  /** The last `to_device_seq` that was passed, or -1. */
  get lastToDeviceSeq(): number {
    return this.#lane?.lastToDeviceSeq ?? -1;
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
    this.#lane?.ended(ending.reason);
    const manner = this.#socket === null ? undefined : MANNER[ending.reason];
    if (manner === undefined) {
      this.#destroy();
      return;
    }
    if (manner === 'close') {
      this.#readEnded = true;
      this.#lane?.abandonWaiting();
    }
    this.#closeSinceMs = this.#host.now();
    this.#armDeadline();
    this.#lane?.flush();
    this.#endSocketOnceFlushed();
    this.#pump();
  }

  #destroy(): void {
    this.#takeUnreadBytes();
    this.#readEnded = true;
    this.#lane?.abandonWaiting();
    this.#socket?.destroy();
    this.#pump();
  }

  /** Also waits for what the device is still to be told of its frames; the close grace bounds it. */
  #endSocketOnceFlushed(): void {
    if (this.#writeEnded || this.#lane?.isBusy) return;
    if (this.#host.limits.ack.enabled && this.#unconfirmedFrames > 0 && !this.#readEnded) return;
    this.#writeEnded = true;
    this.#socket?.end();
  }

  // ── device → broker ──────────────────────────────────────────────────────────────────────────────────────

  receive(chunk: Buffer): void {
    this.#lastReadAtMs = this.#host.now();
    this.#decoder.push(chunk);
    this.#pump();
  }

  frameConfirmed(frame: Frame): void {
    this.#unconfirmedFrames--;
    this.#unconfirmedBytes -= frame.body.length;
    if (this.#host.limits.ack.enabled && !this.#writeEnded && !this.#readEnded)
      this.#laneOfOwn().frameConfirmed(frame.fromDeviceSeq);
    this.#readOn();
  }

  frameRefused(frame: Frame, maxBytes: number): void {
    this.#unconfirmedFrames--;
    this.#unconfirmedBytes -= frame.body.length;
    const value = frame.body.length;
    const detail = `frame of ${value} bytes, the broker takes at most ${maxBytes} (its max_message_size)`;
    if (this.#state.phase === 'ending') this.#destroy();
    else this.end({ reason: 'frame_too_large', detail, limit: maxBytes, value });
  }

  roomAvailable(): void {
    this.#waitingForRoom = false;
    this.#pump();
  }

  /** Goes on after a pause, where nothing else holds the reads back. */
  #readOn(): void {
    if (this.#readPaused && !this.#waitingForRoom && this.#isBelowHalfShare()) this.#pump();
  }

  /** Hands on frames until none is whole, the window or this connection's share of it is full, or the rate exceeded. */
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
      // Nor is there once it ends: what it still has to say goes out within the close grace.
      const nextFrameAtMs = this.#state.phase === 'open' ? this.#nextFrameAtMs() : NEVER;
      if (nextFrameAtMs !== NEVER) {
        this.#setReadPaused(true);
        this.#armDeadline(nextFrameAtMs);
        this.#tellOfRate();
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
    this.#bytesReceived += body.length;
    this.#paidUntilMs = paidUntil(this.#paidUntilMs, this.#host.now(), body.length, this.#host.limits);
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

  /** When a device that sends faster than it may is read on; never, when it does not. */
  #nextFrameAtMs(): number {
    const atMs = nextFrameAt(this.#paidUntilMs);
    return atMs > this.#host.now() ? atMs : NEVER;
  }

  #tellOfRate(): void {
    if (this.#rateExceeded) return;
    this.#rateExceeded = true;
    this.#host.rateExceeded(this);
  }

  #setReadPaused(paused: boolean): void {
    if (this.#socket === null || paused === this.#readPaused) return;
    this.#readPaused = paused;
    if (paused) {
      this.#socket.pause();
      this.#host.readsPaused(this);
    } else {
      this.#peerSuspect = false;
      this.#host.readsResumed(this);
      this.#lastReadAtMs = this.#host.now();
      if (!this.#readEnded) this.#socket.resume();
    }
  }

  /** What Node has read and decrypted but not handed out counts as read: it must be published too. */
  #takeUnreadBytes(): void {
    const socket = this.#socket;
    if (socket === null || this.#readEnded || this.#tooLarge) return;
    socket.pause();
    // In Node, read() also emits what it returns.
    socket.off('data', onData);
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
      this.#decoder.push(chunk);
    }
  }

  /** Nobody waits any longer for what was read and not handed on; returns how many whole frames that are. */
  abandonFrames(): number {
    this.#takeUnreadBytes();
    this.#readEnded = true;
    return this.#tooLarge ? 0 : this.#decoder.pending().frames;
  }

  // ── broker → device ──────────────────────────────────────────────────────────────────────────────────────

  /** Takes a reply; settles it when its bytes are with the kernel, or its fate is known. */
  deliver(reply: Reply): void {
    if (this.#state.phase === 'open') this.#laneOfOwn().deliver(reply);
    else reply.settle('connection_closed', `connection ended: ${this.#state.ending.reason}`);
  }

  #laneOfOwn(): ReplyLane {
    if (this.#lane === null) {
      this.#lane = new ReplyLane(this, this.#host);
      // The first confirm may come after the end; the device is still told of it.
      if (this.#state.phase !== 'open') this.#lane.ended(this.#state.ending.reason);
    }
    return this.#lane;
  }

  write(bytes: Buffer, done: (error: Error | undefined) => void): void {
    const socket = this.#socket;
    if (socket === null) {
      done(new Error('socket closed'));
      return;
    }
    // Node also calls back without an error for a write that a destroyed socket never made.
    socket.write(bytes, (error) =>
      done(error ?? (socket.destroyed ? new Error('socket destroyed') : undefined)),
    );
  }

  laneIdle(): void {
    if (this.#state.phase === 'ending') this.#endSocketOnceFlushed();
  }

  laneDeadlineChanged(): void {
    this.#armDeadline();
  }

  laneSkippedGap(gap: Gap, waitedMs: number): void {
    this.#host.gapSkipped(this, gap, waitedMs);
  }

  // ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────

  /** Called by the wheel when the earliest deadline may have passed. */
  deadlinePassed(nowMs: number): void {
    if (this.#state.phase === 'open') {
      this.#lane?.deadlinePassed(nowMs);
      this.#readOn();
      this.#checkSilence(nowMs);
      this.#checkAge(nowMs);
    } else if (nowMs - this.#closeSinceMs >= CLOSE_GRACE_MS) {
      this.#destroy();
    }
    if (this.#socket !== null) this.#armDeadline();
  }

  #checkSilence(nowMs: number): void {
    const { firstFrameTimeoutMs, idleTimeoutMs } = this.#host.limits;
    if (nowMs >= this.#firstFrameDueMs()) {
      const value = Math.round(nowMs - this.openedAtMs);
      this.end({ reason: 'first_frame_timeout', limit: firstFrameTimeoutMs, value });
    } else if (nowMs >= this.#idleDueMs()) {
      this.end({
        reason: 'idle_timeout',
        limit: idleTimeoutMs,
        value: Math.round(nowMs - this.#lastReadAtMs),
      });
    }
  }

  #checkAge(nowMs: number): void {
    if (nowMs < this.#ageDueMs) return;
    const value = Math.round(nowMs - this.openedAtMs);
    this.end({ reason: 'max_age', limit: this.#host.limits.maxAgeMs, value });
  }

  /** The gateway itself holds a paused device back, so its silence says nothing. */
  #idleDueMs(): number {
    const { idleTimeoutMs } = this.#host.limits;
    if (idleTimeoutMs === 0) return NEVER;
    return this.#readPaused ? this.#host.now() + idleTimeoutMs : this.#lastReadAtMs + idleTimeoutMs;
  }

  #firstFrameDueMs(): number {
    const { firstFrameTimeoutMs } = this.#host.limits;
    if (firstFrameTimeoutMs === 0 || this.#nextFromDeviceSeq > 0) return NEVER;
    return (this.#readPaused ? this.#host.now() : this.openedAtMs) + firstFrameTimeoutMs;
  }

  /** Sees to it that the wheel looks at this endpoint no later than its earliest deadline. */
  #armDeadline(nextFrameAtMs = NEVER): void {
    const dueMs =
      this.#state.phase === 'open'
        ? Math.min(
            this.#idleDueMs(),
            this.#firstFrameDueMs(),
            this.#ageDueMs,
            nextFrameAtMs,
            this.#lane?.dueMs ?? NEVER,
          )
        : this.#closeSinceMs + CLOSE_GRACE_MS;
    if (dueMs === NEVER) return;
    if (this.wheelSlot === -1 || dueMs < this.wheelDueMs) this.#host.deadlines.arm(this, dueMs);
  }

  // ── the socket's end ─────────────────────────────────────────────────────────────────────────────────────

  peerEnded(): void {
    this.#readEnded = true;
    this.#pump();
    // Whole frames may still wait for room before it.
    const { rest } = this.#decoder.pending();
    if (rest === 0) this.end({ reason: 'peer_closed' });
    else
      this.end({
        reason: 'incomplete_frame',
        detail: `the device closed ${rest} bytes into a frame`,
        value: rest,
      });
  }

  /**
   * What the kernel says of the peer while reads are paused, when nobody else does. It has to say so twice running,
   * for its table is not read in one piece.
   * @param mayWait a peer that has closed its side is waited for: what it wrote before can be read once there is room
   */
  peerSeen(state: PeerState, mayWait: boolean): void {
    const suspect = state === 'gone' || (state === 'half_closed' && !mayWait);
    if (suspect && this.#peerSuspect) {
      const what = state === 'gone' ? 'vanished' : 'closed';
      this.end({
        reason: 'peer_reset',
        detail: `the peer ${what} while reads were paused; what it had sent and was not read is dropped`,
      });
    }
    this.#peerSuspect = suspect;
  }

  socketFailed(error: NodeJS.ErrnoException): void {
    const reset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    this.end({ reason: reset ? 'peer_reset' : 'socket_error', detail: error.message });
  }

  socketClosed(): void {
    this.#takeUnreadBytes();
    this.#readEnded = true;
    this.#socket = null;
    // Nobody is held back any more.
    if (this.#readPaused) this.#host.readsResumed(this);
    this.#host.socketGone(this, this.#decoder.bufferedBytes);
    this.end({ reason: 'peer_closed' });
    this.#host.deadlines.disarm(this);
    this.#lane?.abandonAll();
    this.#pump();
  }

  /** The last step of `end`: the socket is gone and no frame waits for room. */
  #finishIfDone(): void {
    if (this.#socket !== null || this.#waitingForRoom) return;
    const next = transition(this.#state, { type: 'finished' });
    if (next === this.#state || next.phase !== 'closed') return;
    this.#state = next;
    this.#host.closed(this, next.ending);
  }
}

/** Another age for each connection, so that those that came together do not go together. */
function drawAge({ maxAgeMs, maxAgeJitter }: EndpointLimits): number {
  if (maxAgeMs === 0) return NEVER;
  return maxAgeMs * (1 + ((2 * Math.random() - 1) * maxAgeJitter) / 100);
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
