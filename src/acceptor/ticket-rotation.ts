import { ticketKeysOf, utcDay } from './ticket-keys.ts';

/** How long after midnight the new keys come at the latest. */
const CHECK_MS = 5_000;

/**
 * Follows the day. It asks the wall clock again and again rather than waiting for midnight once: clocks are set, and
 * machines sleep.
 */
export class TicketRotation {
  readonly #secret: string;
  readonly #trusted: string;
  readonly #wallClock: () => number;
  readonly #apply: (keys: Buffer) => void;
  readonly #timer: NodeJS.Timeout;
  #day: string;

  /**
   * @param trusted authorities that client certificates are verified against
   * @param apply told of the keys of each new day; those of the first are `keys`
   */
  constructor(
    secret: string,
    trusted: string,
    apply: (keys: Buffer) => void,
    wallClock: () => number = Date.now,
  ) {
    this.#secret = secret;
    this.#trusted = trusted;
    this.#apply = apply;
    this.#wallClock = wallClock;
    this.#day = utcDay(wallClock());
    this.#timer = setInterval(() => this.check(), CHECK_MS);
    this.#timer.unref();
  }

  get keys(): Buffer {
    return ticketKeysOf(this.#secret, this.#day, this.#trusted);
  }

  check(): void {
    const today = utcDay(this.#wallClock());
    if (today === this.#day) return;
    this.#day = today;
    this.#apply(this.keys);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
