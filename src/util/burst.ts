/**
 * Tells when a burst of something is over: much of it has happened since the last time, and little of late. Pure.
 *
 *   ▁▁▂▇█▇▆▂▁▁▁▁▁
 *               ▲ over
 */
export class Burst {
  readonly #least: number;
  readonly #quietPerS: number;
  readonly #quietForMs: number;
  #count = 0;
  #countAtCheck = 0;
  #checkedAtMs: number;
  #quietSinceMs: number;

  /**
   * @param least how often it has to happen to be a burst
   * @param quietPerS how often a second it may happen at most while it is quiet
   * @param quietForMs how long it has to be quiet until a burst is over
   */
  constructor(least: number, quietPerS: number, quietForMs: number, nowMs: number) {
    this.#least = least;
    this.#quietPerS = quietPerS;
    this.#quietForMs = quietForMs;
    this.#checkedAtMs = nowMs;
    this.#quietSinceMs = nowMs;
  }

  /** It has happened once more. */
  add(): void {
    this.#count++;
  }

  /** Asked at an interval of a second or less: true once for each burst, when it is over. */
  isOver(nowMs: number): boolean {
    const allowed = Math.ceil((this.#quietPerS * (nowMs - this.#checkedAtMs)) / 1_000);
    if (this.#count - this.#countAtCheck > allowed) this.#quietSinceMs = nowMs;
    this.#countAtCheck = this.#count;
    this.#checkedAtMs = nowMs;
    if (this.#count < this.#least || nowMs - this.#quietSinceMs < this.#quietForMs) return false;
    this.#count = 0;
    this.#countAtCheck = 0;
    return true;
  }
}
