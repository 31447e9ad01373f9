/**
 * Lets work that is done in steps take a bounded part of each turn of the event loop, so that what else is ready is
 * served in between. A step may put off the expensive half of its work to `process.nextTick`; that counts too.
 */
export class TurnPacer {
  readonly #step: () => boolean;
  readonly #budgetMs: number;
  readonly #now: () => number;
  #spentMs = 0;
  #stepStartedAtMs = 0;
  #isStepping = false;
  #turnEndsLater = false;

  /** @param step does one step; false when there is nothing to do */
  constructor(step: () => boolean, budgetMs: number, now: () => number) {
    this.#step = step;
    this.#budgetMs = budgetMs;
    this.#now = now;
  }

  /** There may be something to do. */
  readonly kick = (): void => {
    if (this.#isStepping || this.#spentMs >= this.#budgetMs) return;
    this.#stepStartedAtMs = this.#now();
    this.#isStepping = true;
    if (!this.#step()) {
      this.#isStepping = false;
      return;
    }
    process.nextTick(this.#stepDone);
  };

  readonly #stepDone = (): void => {
    this.#isStepping = false;
    this.#spentMs += this.#now() - this.#stepStartedAtMs;
    if (!this.#turnEndsLater) {
      this.#turnEndsLater = true;
      setImmediate(this.#turnEnded);
    }
    this.kick();
  };

  readonly #turnEnded = (): void => {
    this.#turnEndsLater = false;
    this.#spentMs = 0;
    this.kick();
  };
}
