/** What readiness stands on (`readiness` of the configuration). */
interface Readiness {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** How often the supervisor looks whether a worker has told its status. */
export const LOOK_MS = 1_000;
/** A probe may follow the last one at once; that is no reason to say the same each millisecond. */
const MIN_STATUS_INTERVAL_MS = 250;

/** How often a worker tells its status, changed or not. */
export const statusIntervalMs = ({ intervalMs }: Readiness): number =>
  Math.max(intervalMs, MIN_STATUS_INTERVAL_MS);

/**
 * Tells that a worker hangs: it has not told its status for longer than a broker round trip may take, and the pause
 * before it. Pure.
 *
 * Looks are counted instead of time: a supervisor that was held up itself has not read yet what came meanwhile.
 */
export class StatusWatch {
  readonly #maxSilentLooks: number;
  #silentLooks = 0;

  constructor(readiness: Readiness) {
    const allowedMs = statusIntervalMs(readiness) + readiness.timeoutMs;
    // One look may come just after a status; another is left to a worker that is late.
    this.#maxSilentLooks = Math.ceil(allowedMs / LOOK_MS) + 2;
  }

  get isSilent(): boolean {
    return this.#silentLooks >= this.#maxSilentLooks;
  }

  heard(): void {
    this.#silentLooks = 0;
  }

  /** One of the looks, every `LOOK_MS`; returns whether the worker counts as silent from now on. */
  look(): boolean {
    return ++this.#silentLooks === this.#maxSilentLooks;
  }
}
