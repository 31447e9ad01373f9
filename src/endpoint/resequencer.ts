import { SequenceRanges } from './sequence-ranges.ts';

/**
 * Puts the replies of one connection back into `to_device_seq` order, each once.
 *
 * Pure: it knows neither clocks nor sockets. What arrives early is parked; the caller starts a timer when
 * `hasGap` becomes true and calls `skipGap` when it passes. Numbers that were given up (skipped, refused because too
 * much was parked, or not delivered in their turn) are remembered in a few ranges each: the order goes on behind
 * refused ones without waiting, and a copy that comes late is told from a duplicate of something that was delivered.
 * Past the bound on ranges, a refused number is waited for like any missing one, and a duplicate may be called stale.
 *
 *        delivered        next    parked      refused     parked
 *   ─────────────────────┼─ ? ─┼──7──8──9──┼──10───40──┼────41────►
 */
export interface ResequencerLimits {
  /** Items parked at once. */
  maxParked: number;
  /** Bytes parked at once. */
  maxParkedBytes: number;
  /** How far ahead of the next number an item may be; one further ahead is taken for garbage. */
  maxAhead: number;
}

/**
 * - `next`: the item is next in order: deliver it, then take what `takeReady` has.
 * - `parked`: kept until its turn.
 * - `duplicate`: its number was delivered; drop it.
 * - `duplicate_parked`: its number is parked already; see `replaceParked`.
 * - `stale`: its number was skipped or refused before.
 * - `overflow`: no room to park it, or too far ahead; it was not kept and its number is given up.
 */
export type Verdict = 'next' | 'parked' | 'duplicate' | 'duplicate_parked' | 'stale' | 'overflow';

/** Numbers that were given up, both ends included. */
export interface Gap {
  fromSeq: number;
  toSeq: number;
}

export interface Parkable {
  readonly heldBytes: number;
}

const MAX_REMEMBERED_RANGES = 32;

export class Resequencer<T extends Parkable> {
  readonly #limits: ResequencerLimits;
  #nextSeq = 0;
  #parked: Map<number, T> | null = null;
  #parkedBytes = 0;
  /** Numbers from `nextSeq` on that were refused. */
  #refused: SequenceRanges | null = null;
  /** Numbers below `nextSeq` that were not delivered. */
  #skipped: SequenceRanges | null = null;

  constructor(limits: ResequencerLimits) {
    this.#limits = limits;
  }

  /** The number that is delivered next. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  get parkedCount(): number {
    return this.#parked?.size ?? 0;
  }

  get parkedBytes(): number {
    return this.#parkedBytes;
  }

  /** Something is parked behind a missing number. */
  get hasGap(): boolean {
    return this.parkedCount > 0;
  }

  /** @param seq a safe integer from 0 */
  offer(seq: number, item: T): Verdict {
    if (seq < this.#nextSeq) return this.#skipped?.has(seq) ? 'stale' : 'duplicate';
    if (this.#refused?.has(seq)) return 'stale';
    if (seq === this.#nextSeq) {
      this.#advance();
      return 'next';
    }
    if (this.#parked?.has(seq)) return 'duplicate_parked';
    if (!this.#hasRoomFor(seq, item)) {
      this.#refused ??= new SequenceRanges(MAX_REMEMBERED_RANGES);
      this.#refused.addIfRoom(seq);
      return 'overflow';
    }
    this.#parked ??= new Map();
    this.#parked.set(seq, item);
    this.#parkedBytes += item.heldBytes;
    return 'parked';
  }

  /** The parked item whose turn has come, or `undefined`. */
  takeReady(): T | undefined {
    const item = this.#parked?.get(this.#nextSeq);
    if (item === undefined) return undefined;
    this.#unpark(this.#nextSeq, item);
    this.#advance();
    return item;
  }

  /**
   * Puts a newer copy in the place of a parked one and returns the older copy; or returns the newer one, when it
   * is larger and there is no room for it.
   */
  replaceParked(seq: number, item: T): T | undefined {
    const older = this.#parked?.get(seq);
    if (older === undefined) return undefined;
    if (this.#parkedBytes + item.heldBytes - older.heldBytes > this.#limits.maxParkedBytes) return item;
    this.#parked!.set(seq, item);
    this.#parkedBytes += item.heldBytes - older.heldBytes;
    return older;
  }

  /** Gives the missing numbers up, so that the first parked item is ready; `undefined` when nothing is parked. */
  skipGap(): Gap | undefined {
    if (this.#parked === null || this.#parked.size === 0) return undefined;
    let first = Number.POSITIVE_INFINITY;
    for (const seq of this.#parked.keys()) if (seq < first) first = seq;
    const gap = { fromSeq: this.#nextSeq, toSeq: first - 1 };
    this.#skipTo(first);
    return gap;
  }

  /** An item whose turn had come was not delivered after all: a copy of it is stale, and no duplicate. */
  giveUp(seq: number): void {
    this.#skipped ??= new SequenceRanges(MAX_REMEMBERED_RANGES);
    this.#skipped.add(seq, seq);
  }

  /** Takes everything that is parked, in order; for when the connection ends. */
  drain(): T[] {
    const entries = [...(this.#parked?.entries() ?? [])].sort(([a], [b]) => a - b);
    this.#parked = null;
    this.#parkedBytes = 0;
    return entries.map(([, item]) => item);
  }

  #hasRoomFor(seq: number, item: T): boolean {
    return (
      seq - this.#nextSeq <= this.#limits.maxAhead &&
      this.parkedCount < this.#limits.maxParked &&
      this.#parkedBytes + item.heldBytes <= this.#limits.maxParkedBytes
    );
  }

  /** Goes to the next number, and past those that were refused before their turn. */
  #advance(): void {
    this.#nextSeq++;
    const end = this.#refused?.endOfRangeAt(this.#nextSeq);
    if (end !== undefined) this.#skipTo(end + 1);
  }

  #skipTo(seq: number): void {
    this.#skipped ??= new SequenceRanges(MAX_REMEMBERED_RANGES);
    this.#skipped.add(this.#nextSeq, seq - 1);
    this.#refused?.dropBelow(seq);
    this.#nextSeq = seq;
  }

  #unpark(seq: number, item: T): void {
    this.#parked!.delete(seq);
    this.#parkedBytes -= item.heldBytes;
    if (this.#parked!.size === 0) this.#parked = null;
  }
}
