/** Tokens that come at a steady rate, up to a burst. Takes whole or part tokens; may be driven into debt. Pure. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  /** Starts full. */
  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  available(nowMs: number): number {
    const elapsedMs = Math.max(0, nowMs - this.#atMs);
    this.#atMs = Math.max(nowMs, this.#atMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + elapsedMs * this.#perMs);
    return this.#tokens;
  }

  /** Takes a token if a whole one is there. */
  take(nowMs: number): boolean {
    if (this.available(nowMs) < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Takes tokens that were spent elsewhere, whether they are there or not. */
  spend(tokens: number, nowMs: number): void {
    this.available(nowMs);
    this.#tokens -= tokens;
  }
}
