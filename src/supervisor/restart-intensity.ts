/**
 * OTP's rule for supervisors: more than `maxRestarts` within `windowMs` means that restarting does not help. Pure.
 */
export class RestartIntensity {
  readonly #maxRestarts: number;
  readonly #windowMs: number;
  #restartsAtMs: number[] = [];

  constructor(maxRestarts: number, windowMs: number) {
    this.#maxRestarts = maxRestarts;
    this.#windowMs = windowMs;
  }

  /** Counts one more restart; false when it is one too many. */
  allows(nowMs: number): boolean {
    this.#restartsAtMs = this.#restartsAtMs.filter((at) => nowMs - at < this.#windowMs);
    this.#restartsAtMs.push(nowMs);
    return this.#restartsAtMs.length <= this.#maxRestarts;
  }

  /** Restarts within the window. */
  get recent(): number {
    return this.#restartsAtMs.length;
  }
}
