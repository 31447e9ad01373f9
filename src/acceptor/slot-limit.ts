export interface SlotLimitOptions {
  readonly min: number;
  readonly max: number;
  /** Delay of the event loop above which handshakes have to make room for what else it does. */
  readonly maxLoopDelayMs: number;
}

const DECREASE = 0.75;
/** Part of the largest limit that one step up adds. */
const INCREASE = 1 / 64;

/**
 * How many handshakes may be under way: additive increase while they are all in use and the event loop keeps up,
 * multiplicative decrease while it does not. Pure.
 *
 * A late event loop is blamed on the handshakes only where there are enough of them to matter; whatever else makes
 * it late, fewer slots would not help.
 */
export class SlotLimit {
  readonly #options: SlotLimitOptions;
  #limit: number;

  constructor(options: SlotLimitOptions) {
    this.#options = options;
    this.#limit = options.max;
  }

  get current(): number {
    return this.#limit;
  }

  /**
   * Called once a period.
   * @param mostInUse the most slots that were in use at once during the period
   */
  adjust(loopDelayMs: number, mostInUse: number): void {
    const { min, max } = this.#options;
    if (loopDelayMs > this.#options.maxLoopDelayMs) {
      // From what is in use, not from a limit that nothing was near: the next step must be felt.
      if (mostInUse >= min)
        this.#limit = Math.max(min, Math.floor(Math.min(this.#limit, mostInUse) * DECREASE));
    } else if (mostInUse >= this.#limit) {
      this.#limit = Math.min(max, this.#limit + Math.max(1, Math.round(max * INCREASE)));
    }
  }
}
