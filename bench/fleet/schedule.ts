/**
 * Things to do at a fixed rate, whatever becomes of those before (open loop). What is measured counts from the
 * planned time, so that a system under test that holds the generator up cannot hide it. Pure.
 *
 *   planned   |    |    |    |    |    |
 *   done      |    |              ||||  |      each of the four late ones keeps its own planned time
 */
export class Schedule {
  readonly #startMs: number;
  readonly #intervalMs: number;
  readonly #limit: number;
  #taken = 0;

  /**
   * @param startMs time of the first
   * @param ratePerS how many a second
   * @param limit how many in all
   */
  constructor(startMs: number, ratePerS: number, limit = Number.POSITIVE_INFINITY) {
    this.#startMs = startMs;
    this.#intervalMs = 1_000 / ratePerS;
    this.#limit = limit;
  }

  /**
   * This schedule's share when several processes keep one together: their things alternate.
   * @param index of this process, from 0
   */
  static share(startMs: number, ratePerS: number, limit: number, index: number, processes: number): Schedule {
    const own = Number.isFinite(limit) ? shareOf(limit, index, processes) : limit;
    return new Schedule(startMs + (index * 1_000) / ratePerS, ratePerS / processes, own);
  }

  get taken(): number {
    return this.#taken;
  }

  get done(): boolean {
    return this.#taken >= this.#limit;
  }

  /** Planned time of the next one. */
  get nextMs(): number {
    return this.done ? Number.POSITIVE_INFINITY : this.#startMs + this.#taken * this.#intervalMs;
  }

  /** Takes the next one, if it is due, and returns its planned time. */
  take(nowMs: number): number | undefined {
    const planned = this.nextMs;
    if (planned > nowMs) return undefined;
    this.#taken++;
    return planned;
  }

  /** How many are planned up to then. */
  plannedBy(nowMs: number): number {
    if (nowMs < this.#startMs) return 0;
    return Math.min(this.#limit, Math.floor((nowMs - this.#startMs) / this.#intervalMs) + 1);
  }
}

/** How many of `count` things are the share of process `index`, the first ones taking what does not divide. */
export function shareOf(count: number, index: number, processes: number): number {
  return Math.floor(count / processes) + (index < count % processes ? 1 : 0);
}
