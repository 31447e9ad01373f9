/**
 * Exponential backoff with full jitter: the wait is uniform between nothing and a bound that doubles with each
 * failure up to a cap, so that clients that failed together do not return together.
 */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor(minMs: number, maxMs: number, random: () => number = Math.random) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** Counts one more failure and returns the wait before the next attempt, in milliseconds. */
  nextMs(): number {
    const bound = Math.min(this.#maxMs, this.#minMs * 2 ** this.#failures);
    this.#failures++;
    return this.#random() * bound;
  }

  get failures(): number {
    return this.#failures;
  }

  reset(): void {
    this.#failures = 0;
  }
}
