/**
 * Decides which accepted sockets may begin their TLS handshake, before anything is spent on them. Pure: it keeps
 * what waits and counts what runs, the acceptor pool does the rest.
 */
export interface AdmissionGate<S> {
  /** `start` the handshake now; `wait`: the gate keeps the socket for a later `release`; `refuse` it. */
  offer(socket: S, nowMs: number): 'start' | 'wait' | 'refuse';
  /** A handshake has ended, however: returns the socket that may start in its place. */
  release(nowMs: number): S | undefined;
  /** A socket that was waiting is gone. */
  withdraw(socket: S): void;
}

/** A fixed number of handshake slots, and a bounded line in front of them. */
export class SlotGate<S> implements AdmissionGate<S> {
  readonly #slots: number;
  readonly #maxWaiting: number;
  readonly #waiting = new Set<S>();
  #running = 0;

  constructor(slots: number, maxWaiting: number) {
    this.#slots = slots;
    this.#maxWaiting = maxWaiting;
  }

  offer(socket: S): 'start' | 'wait' | 'refuse' {
    if (this.#running < this.#slots) {
      this.#running++;
      return 'start';
    }
    if (this.#waiting.size >= this.#maxWaiting) return 'refuse';
    this.#waiting.add(socket);
    return 'wait';
  }

  release(): S | undefined {
    const next = this.#waiting.values().next();
    if (next.done) {
      this.#running--;
      return undefined;
    }
    this.#waiting.delete(next.value);
    return next.value;
  }

  withdraw(socket: S): void {
    this.#waiting.delete(socket);
  }
}
