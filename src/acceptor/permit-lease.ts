import { TokenBucket } from '../util/token-bucket.ts';
import type { PermitSource } from './admission.ts';
import { HANDSHAKE_KINDS, type HandshakeKind } from './client-hello.ts';

/** Permits, or rates, by kind of handshake. */
export type ByKind = Readonly<Record<HandshakeKind, number>>;

/** A supervisor that has not answered for this long is not there. */
const SILENCE_MS = 1_000;

/**
 * A worker's part of the machine's budget for new connections. The supervisor makes the permits, at the configured
 * rate; a worker holds a few in reserve, asks for more as it uses them, and waits when there are none. So all workers
 * together never start more than one would. Pure.
 *
 * While the supervisor does not answer, the worker goes by an even share of the rate.
 */
export class PermitLease implements PermitSource {
  readonly #rates: ByKind;
  readonly #reserve: ByKind;
  readonly #shares: Record<HandshakeKind, TokenBucket>;
  /** Below zero when a permit was used that was not there: a client's session turned out to be no good. Bounded: see `take`. */
  readonly #held: Record<HandshakeKind, number> = { full: 0, resumed: 0 };
  /** Since when there has been no answer. */
  #askedAtMs: number | undefined;
  #lastAskedAtMs = Number.NEGATIVE_INFINITY;
  #isAlone = false;

  /** @param rates per second for the machine; 0: no limit */
  constructor(rates: ByKind, workers: number, nowMs: number) {
    this.#rates = rates;
    const half = (rate: number) => Math.max(1, Math.floor(rate / (2 * workers)));
    this.#reserve = { full: half(rates.full), resumed: half(rates.resumed) };
    const share = (rate: number) => new TokenBucket(rate / workers, Math.max(1, rate / workers), nowMs);
    this.#shares = { full: share(rates.full), resumed: share(rates.resumed) };
  }

  /** There is a limit at all. */
  get isLimited(): boolean {
    return HANDSHAKE_KINDS.some((kind) => this.#rates[kind] > 0);
  }

  take(kind: HandshakeKind, nowMs: number): boolean {
    if (kind === 'resumed' && this.#isFullOverdrawn) return false;
    if (this.#rates[kind] === 0) return true;
    if (this.#held[kind] >= 1) {
      this.#held[kind]--;
      return true;
    }
    return this.#isAlone && this.#shares[kind].take(nowMs);
  }

  /** A permit for one kind was taken, and another kind of handshake was made. */
  exchange(taken: HandshakeKind, used: HandshakeKind): void {
    if (this.#rates[taken] > 0) this.#held[taken]++;
    if (this.#rates[used] > 0) this.#held[used]--;
  }

  /**
   * Called once a period: what to ask the supervisor for, if anything.
   * @param waiting sockets in line
   */
  wanted(waiting: ByKind, nowMs: number): ByKind | undefined {
    const wanted = { full: this.#lacks('full', waiting), resumed: this.#lacks('resumed', waiting) };
    if (wanted.full === 0 && wanted.resumed === 0) {
      this.#askedAtMs = undefined;
      return undefined;
    }
    this.#askedAtMs ??= nowMs;
    this.#isAlone = nowMs - this.#askedAtMs > SILENCE_MS;
    // What a stopped supervisor does not read piles up here.
    if (this.#isAlone && nowMs - this.#lastAskedAtMs < SILENCE_MS) return undefined;
    this.#lastAskedAtMs = nowMs;
    return wanted;
  }

  /** The supervisor's answer, be it nothing. */
  granted(permits: ByKind, nowMs: number): void {
    this.#askedAtMs = nowMs;
    this.#isAlone = false;
    for (const kind of HANDSHAKE_KINDS) this.#held[kind] += permits[kind];
  }

  /** Sessions that were no good have used up full handshakes to come: no more are tried until those are made up for. */
  get #isFullOverdrawn(): boolean {
    return !this.#isAlone && this.#held.full <= -this.#reserve.full;
  }

  #lacks(kind: HandshakeKind, waiting: ByKind): number {
    const rate = this.#rates[kind];
    if (rate === 0) return 0;
    const goal = Math.min(rate, Math.max(this.#reserve[kind], waiting[kind]));
    // Not one by one: a message for each permit would cost more than the permit.
    return this.#held[kind] > this.#reserve[kind] / 2 && waiting[kind] === 0
      ? 0
      : Math.max(0, Math.ceil(goal - this.#held[kind]));
  }
}
