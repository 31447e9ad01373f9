/**
 * Looks for the highest rate that holds: up by a factor until one does not hold, then halving what lies between
 * (on a logarithmic scale) until it is known closely enough. Pure.
 */
export class RampSearch {
  /** Highest rate that held; 0 when none did. */
  best = 0;
  readonly #factor: number;
  readonly #precision: number;
  #failed = Number.POSITIVE_INFINITY;
  #next: number;

  /**
   * @param start the first rate
   * @param factor from one step up to the next, over 1
   * @param precision ends when the rates that hold and do not are this close: 0.1 is 10 %
   */
  constructor(start: number, factor: number, precision: number) {
    this.#next = start;
    this.#factor = factor;
    this.#precision = precision;
  }

  /** The rate to try, or `undefined` when it is known. */
  get next(): number | undefined {
    return this.#next < 1 || this.#failed <= this.best * (1 + this.#precision) ? undefined : this.#next;
  }

  /** How the rate that was to be tried went. */
  record(held: boolean): void {
    if (held) this.best = this.#next;
    else this.#failed = this.#next;
    if (this.best === 0) this.#next /= this.#factor;
    else if (this.#failed === Number.POSITIVE_INFINITY) this.#next *= this.#factor;
    else this.#next = Math.sqrt(this.best * this.#failed);
  }
}
