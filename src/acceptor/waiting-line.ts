interface Place<S> {
  readonly socket: S;
  readonly sinceMs: number;
  older: Place<S> | null;
  newer: Place<S> | null;
}

export interface WaitingLineOptions {
  /** A delay that is no sign of overload. */
  readonly targetDelayMs: number;
  /** How long the delay must have been above the target to count as standing. */
  readonly intervalMs: number;
}

/**
 * Sockets that wait for their handshake. In turn as long as the delay is only a burst's; newest first once it stands.
 *
 * A delay stands, by CoDel's rule (RFC 8289), when it was above the target during a whole interval: a burst drains
 * within that time, an overload does not. Then whoever waits longest is the likeliest to have given up, and serving
 * him would only make the next one late too. Pure.
 */
export class WaitingLine<S> {
  readonly #options: WaitingLineOptions;
  readonly #places = new Map<S, Place<S>>();
  #oldest: Place<S> | null = null;
  #newest: Place<S> | null = null;
  #aboveTargetSinceMs: number | undefined;

  constructor(options: WaitingLineOptions) {
    this.#options = options;
  }

  get length(): number {
    return this.#places.size;
  }

  isStanding(nowMs: number): boolean {
    if (this.#oldest === null || nowMs - this.#oldest.sinceMs <= this.#options.targetDelayMs) {
      this.#aboveTargetSinceMs = undefined;
      return false;
    }
    // It was above the target from the moment when the oldest had waited that long.
    this.#aboveTargetSinceMs ??= this.#oldest.sinceMs + this.#options.targetDelayMs;
    return nowMs - this.#aboveTargetSinceMs >= this.#options.intervalMs;
  }

  add(socket: S, nowMs: number): void {
    const place: Place<S> = { socket, sinceMs: nowMs, older: this.#newest, newer: null };
    if (this.#newest === null) this.#oldest = place;
    else this.#newest.newer = place;
    this.#newest = place;
    this.#places.set(socket, place);
  }

  /** Takes the one whose turn it is, with the time it has waited. */
  take(nowMs: number): { socket: S; waitedMs: number } | undefined {
    const place = this.isStanding(nowMs) ? this.#newest : this.#oldest;
    if (place === null) return undefined;
    this.#remove(place);
    return { socket: place.socket, waitedMs: nowMs - place.sinceMs };
  }

  /** Takes the oldest if it has waited that long. */
  takeOlderThan(waitedMs: number, nowMs: number): S | undefined {
    const place = this.#oldest;
    if (place === null || nowMs - place.sinceMs < waitedMs) return undefined;
    // The delay is judged with the one that is about to go.
    this.isStanding(nowMs);
    this.#remove(place);
    return place.socket;
  }

  /** False when it does not wait here. */
  withdraw(socket: S): boolean {
    const place = this.#places.get(socket);
    if (place !== undefined) this.#remove(place);
    return place !== undefined;
  }

  #remove(place: Place<S>): void {
    this.#places.delete(place.socket);
    if (place.older === null) this.#oldest = place.newer;
    else place.older.newer = place.newer;
    if (place.newer === null) this.#newest = place.older;
    else place.newer.older = place.older;
  }
}
