import type { HandshakeKind } from './client-hello.ts';
import type { ByKind } from './permit-lease.ts';
import type { SlotLimit } from './slot-limit.ts';
import { WaitingLine, type WaitingLineOptions } from './waiting-line.ts';

/** Why a socket that stood in line was turned away. */
export type AdmissionRefusal = 'accept_queue_full' | 'accept_queue_timeout' | 'rate_limit';

export interface Refused<S> {
  readonly socket: S;
  readonly reason: AdmissionRefusal;
}

export interface Admitted<S> {
  readonly socket: S;
  readonly waitedMs: number;
}

/**
 * Decides which sockets may begin their TLS handshake, before anything is spent on them. Pure: it keeps what waits
 * and counts what runs; the acceptor pool asks it, and does what it says.
 */
export interface AdmissionGate<S> {
  /** Sockets in line, by kind. */
  readonly waiting: ByKind;
  /** Handshakes that hold a slot, and how many may. */
  readonly running: number;
  readonly slots: number;
  /** Puts a socket in line. Returns who has to go for it: itself, an older one, or nobody. */
  offer(socket: S, kind: HandshakeKind, nowMs: number): Refused<S> | undefined;
  /** The next to start, if one may: it holds a slot from now on. */
  next(nowMs: number): Admitted<S> | undefined;
  /** One that has waited too long, if there is one. */
  overdue(nowMs: number): Refused<S> | undefined;
  /** A slot is free again. */
  release(): void;
  /** A socket that was in line is gone. */
  withdraw(socket: S): void;
  /** Called once a period with the delay of the event loop during it. */
  adjust(loopDelayMs: number): void;
}

/** Permits for new connections, by kind. */
export interface PermitSource {
  take(kind: HandshakeKind, nowMs: number): boolean;
}

export interface QueueOptions extends WaitingLineOptions {
  /** Sockets of each kind in line. */
  readonly maxWaiting: number;
  /** After this a client has surely given up. */
  readonly maxWaitMs: number;
}

/**
 * Slots that shrink as the event loop gets late, permits of the machine's budget, and a short line for each kind of
 * handshake. Where both kinds wait they take turns, so that neither can shut the other out.
 */
export class OverloadGate<S> implements AdmissionGate<S> {
  readonly #slots: SlotLimit;
  readonly #permits: PermitSource;
  readonly #queue: QueueOptions;
  readonly #lines: Record<HandshakeKind, WaitingLine<S>>;
  /** A line's head was last held back by the rate, not by the slots. */
  readonly #lacksPermit: Record<HandshakeKind, boolean> = { full: false, resumed: false };
  #turn: HandshakeKind = 'resumed';
  #running = 0;
  #mostRunning = 0;

  constructor(slots: SlotLimit, permits: PermitSource, queue: QueueOptions) {
    this.#slots = slots;
    this.#permits = permits;
    this.#queue = queue;
    this.#lines = { full: new WaitingLine(queue), resumed: new WaitingLine(queue) };
  }

  get waiting(): ByKind {
    return { full: this.#lines.full.length, resumed: this.#lines.resumed.length };
  }

  get running(): number {
    return this.#running;
  }

  get slots(): number {
    return this.#slots.current;
  }

  offer(socket: S, kind: HandshakeKind, nowMs: number): Refused<S> | undefined {
    const line = this.#lines[kind];
    // Those that a slot is free for do not wait; they are only about to start.
    const free = Math.max(0, this.slots - this.#running);
    let refused: S | undefined;
    if (line.length >= this.#queue.maxWaiting + free) {
      // In a burst the newcomer is turned away; under a standing delay the oldest has the least use of his place.
      if (line.isStanding(nowMs)) refused = line.takeOlderThan(0, nowMs);
      if (refused === undefined) return { socket, reason: 'accept_queue_full' };
    }
    line.add(socket, nowMs);
    return refused === undefined ? undefined : { socket: refused, reason: 'accept_queue_full' };
  }

  next(nowMs: number): Admitted<S> | undefined {
    if (this.#running >= this.slots) {
      // What is late from now on is late for want of a slot.
      this.#lacksPermit.full = this.#lacksPermit.resumed = false;
      return undefined;
    }
    for (const kind of [other(this.#turn), this.#turn]) {
      const line = this.#lines[kind];
      if (line.length === 0) continue;
      this.#lacksPermit[kind] = !this.#permits.take(kind, nowMs);
      if (this.#lacksPermit[kind]) continue;
      this.#turn = kind;
      this.#running++;
      this.#mostRunning = Math.max(this.#mostRunning, this.#running);
      return line.take(nowMs);
    }
    return undefined;
  }

  overdue(nowMs: number): Refused<S> | undefined {
    for (const kind of ['full', 'resumed'] as const) {
      const socket = this.#lines[kind].takeOlderThan(this.#queue.maxWaitMs, nowMs);
      if (socket !== undefined)
        return { socket, reason: this.#lacksPermit[kind] ? 'rate_limit' : 'accept_queue_timeout' };
    }
    return undefined;
  }

  release(): void {
    this.#running--;
  }

  withdraw(socket: S): void {
    if (!this.#lines.full.withdraw(socket)) this.#lines.resumed.withdraw(socket);
  }

  adjust(loopDelayMs: number): void {
    this.#slots.adjust(loopDelayMs, this.#mostRunning);
    this.#mostRunning = this.#running;
  }
}

function other(kind: HandshakeKind): HandshakeKind {
  return kind === 'full' ? 'resumed' : 'full';
}
