/** Counts what is to be told of, but not each time. Pure. */
export class Digest {
  readonly #quietMs: number;
  #count = 0;
  #quietUntilMs = 0;

  /** @param quietMs how long nothing is told after something was */
  constructor(quietMs: number) {
    this.#quietMs = quietMs;
  }

  /** It has happened once more. @returns how often since it was last told of, if it is to be told of now; otherwise 0 */
  add(nowMs: number): number {
    this.#count++;
    if (nowMs < this.#quietUntilMs) return 0;
    const count = this.#count;
    this.#count = 0;
    this.#quietUntilMs = nowMs + this.#quietMs;
    return count;
  }
}
