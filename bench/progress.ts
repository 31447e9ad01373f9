/** What a run tells while it runs: on a terminal one line that is rewritten, otherwise a line every few seconds. */
const TERMINAL_MS = 250;
const PLAIN_MS = 5_000;

export class Progress {
  readonly #out: NodeJS.WriteStream;
  readonly #startMs = performance.now();
  readonly #everyMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(out: NodeJS.WriteStream = process.stderr) {
    this.#out = out;
    this.#everyMs = out.isTTY ? TERMINAL_MS : PLAIN_MS;
    out.on('error', () => {}); // The terminal is gone; a signal says what to do.
  }

  /** Something that happens once; always shown. */
  say(text: string): void {
    this.#clear();
    this.#out.write(`${this.#stamp()} ${text}\n`);
  }

  /** How it stands; shown now and then. */
  update(text: () => string): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < this.#everyMs) return;
    this.#lastMs = nowMs;
    if (!this.#out.isTTY) {
      this.#out.write(`${this.#stamp()} ${text()}\n`);
      return;
    }
    this.#clear();
    this.#out.write(`${this.#stamp()} ${text()}`.slice(0, (this.#out.columns ?? 80) - 1));
    this.#isShown = true;
  }

  end(): void {
    this.#clear();
  }

  #clear(): void {
    if (this.#isShown) this.#out.write('\r\x1b[K');
    this.#isShown = false;
  }

  #stamp(): string {
    return `[${((performance.now() - this.#startMs) / 1_000).toFixed(0).padStart(4)} s]`;
  }
}
