/**
 * Deadlines for many objects with one timer: a hashed timing wheel (Varghese and Lauck, 1987). Time is cut into
 * ticks; slot `tick mod slots` holds the objects due then, as a doubly linked list threaded through the objects
 * themselves, so that setting, moving and clearing a deadline allocate nothing and cost the same at 40,000
 * objects as at one.
 *
 *   slots   0 ──► a ⇄ b
 *           1
 *           2 ──► c            cursor: the last tick that was swept
 *           …
 *
 * A deadline is kept to within one tick, and never fires early.
 */
export interface WheelEntry {
  /** Absolute time in ms on the wheel's clock; the wheel's own while the entry is armed. */
  wheelDueMs: number;
  wheelNext: WheelEntry | null;
  wheelPrev: WheelEntry | null;
  /** The slot the entry is in, or -1. */
  wheelSlot: number;
}

export class TimingWheel<E extends WheelEntry> {
  readonly #tickMs: number;
  readonly #slotCount: number;
  /** The slots, and behind them the list that a sweep holds entries in. */
  readonly #slots: (WheelEntry | null)[];
  readonly #expire: (entry: E, nowMs: number) => void;
  #cursor: number;

  /**
   * @param tickMs granularity
   * @param slotCount a longer deadline than `tickMs * slotCount` is looked at once a revolution
   * @param expire called when an entry is due, after it left the wheel; may arm it again
   */
  constructor(tickMs: number, slotCount: number, startMs: number, expire: (entry: E, nowMs: number) => void) {
    this.#tickMs = tickMs;
    this.#slotCount = slotCount;
    this.#slots = new Array(slotCount + 1).fill(null);
    this.#expire = expire;
    this.#cursor = Math.floor(startMs / tickMs);
  }

  /** Sets the entry's deadline, in place of any earlier one. */
  arm(entry: E, dueMs: number): void {
    this.disarm(entry);
    entry.wheelDueMs = dueMs;
    // The tick that has fully passed once `dueMs` is reached; never one that was already swept.
    const tick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#cursor + 1);
    this.#link(entry, tick % this.#slotCount);
  }

  #link(entry: WheelEntry, slot: number): void {
    const head = this.#slots[slot] ?? null;
    entry.wheelSlot = slot;
    entry.wheelNext = head;
    entry.wheelPrev = null;
    if (head !== null) head.wheelPrev = entry;
    this.#slots[slot] = entry;
  }

  /** Takes the deadline away; does nothing when there is none. */
  disarm(entry: E): void {
    if (entry.wheelSlot === -1) return;
    if (entry.wheelPrev === null) this.#slots[entry.wheelSlot] = entry.wheelNext;
    else entry.wheelPrev.wheelNext = entry.wheelNext;
    if (entry.wheelNext !== null) entry.wheelNext.wheelPrev = entry.wheelPrev;
    entry.wheelNext = null;
    entry.wheelPrev = null;
    entry.wheelSlot = -1;
  }

  /** Expires all that is due at `nowMs`. A long pause costs at most one revolution. */
  sweep(nowMs: number): void {
    const last = Math.floor(nowMs / this.#tickMs);
    const first = Math.max(this.#cursor + 1, last - this.#slotCount + 1);
    for (let tick = first; tick <= last; tick++) {
      this.#cursor = tick;
      this.#sweepSlot(tick % this.#slotCount, last * this.#tickMs, nowMs);
    }
  }

  /**
   * Takes entries from the head until the slot is empty, so that `expire` may arm or disarm any of them; those of
   * a later revolution are held meanwhile in a list of their own. What is due within the tick that has only begun
   * is one of those too: if it were expired and armed again, it could come back to this very slot.
   */
  #sweepSlot(slot: number, lastTickMs: number, nowMs: number): void {
    const held = this.#slotCount;
    for (let entry = this.#slots[slot]; entry != null; entry = this.#slots[slot]) {
      this.disarm(entry as E);
      if (entry.wheelDueMs <= lastTickMs) this.#expire(entry as E, nowMs);
      else this.#link(entry, held);
    }
    for (let entry = this.#slots[held]; entry != null; entry = this.#slots[held]) {
      this.arm(entry as E, entry.wheelDueMs);
    }
  }
}
