/** What a run tells while it runs: on a terminal one line that is rewritten, otherwise a line every few seconds. */
const TERMINAL_MS = 250;
const PLAIN_MS = 5_000;

export class Progress {
  readonly #out: NodeJS.WriteStream;
  readonly #startMs = performance.now();
  readonly #everyMs: number;
  readonly #status = new Map<string, string>();
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

  /** How one of the things under way stands, or that it is over; shown now and then, all together. */
  status(of: string, text: string | undefined): void {
    if (text === undefined) this.#status.delete(of);
    else this.#status.set(of, text);
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < this.#everyMs || this.#status.size === 0) return;
    this.#lastMs = nowMs;
    const line = `${this.#stamp()} ${[...this.#status].map(([name, how]) => `${name}: ${how}`).join('  |  ')}`;
    this.#clear();
    this.#out.write(this.#out.isTTY ? line.slice(0, (this.#out.columns ?? 80) - 1) : `${line}\n`);
    this.#isShown = this.#out.isTTY;
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
