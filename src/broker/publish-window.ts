/**
 * Messages that the broker has not confirmed, in the order they were pushed. Pure.
 *
 *        head               next               tail
 *         │ sent, unconfirmed │ to be sent       │
 *   ──────┼───────────────────┼──────────────────┼────►
 *
 * Delivery tags count from 1 on each channel, so tag t is the entry at `head at the channel's start + t - 1`.
 * Confirms may come out of order and for many at once; a confirmed entry behind `head` leaves a hole, which
 * `rewind` closes when a new channel starts over from the oldest unconfirmed entry.
 */
export class PublishWindow<T> {
  /** A ring: the entry with absolute index i is at `i & (length - 1)`. */
  #ring: (T | undefined)[] = new Array(16).fill(undefined);
  #head = 0;
  #next = 0;
  #tail = 0;
  /** Absolute index of the entry that delivery tag 1 of this channel stands for. */
  #tagBase = 0;
  /** Entries below this index were sent on an earlier channel. */
  #resendEnd = 0;
  #size = 0;

  /** Entries that are not confirmed. */
  get size(): number {
    return this.#size;
  }

  get hasUnsent(): boolean {
    return this.#next < this.#tail;
  }

  push(entry: T): void {
    if (this.#tail - this.#head === this.#ring.length) this.#grow();
    this.#ring[this.#tail & (this.#ring.length - 1)] = entry;
    this.#tail++;
    this.#size++;
  }

  /** The oldest entry that was not sent on this channel; `sent` moves on. */
  peekUnsent(): T | undefined {
    return this.#next < this.#tail ? this.#ring[this.#next & (this.#ring.length - 1)] : undefined;
  }

  /** The oldest entry that was sent on this channel and is not confirmed. */
  get oldestSent(): T | undefined {
    return this.#head < this.#next ? this.#ring[this.#head & (this.#ring.length - 1)] : undefined;
  }

  /** The entry that `peekUnsent` shows was sent on an earlier channel. */
  get isResend(): boolean {
    return this.#next < this.#resendEnd;
  }

  /** Counts the entry that `peekUnsent` shows as sent. */
  sent(): void {
    this.#next++;
  }

  /** Takes the entry that `peekUnsent` shows out for good. Its tag is missing then: a `rewind` has to follow. */
  dropUnsent(): void {
    if (!this.hasUnsent) return;
    this.#ring[this.#next & (this.#ring.length - 1)] = undefined;
    this.#size--;
    this.#next++;
  }

  /**
   * Takes confirmed entries out, oldest first.
   * @param deliveryTag of basic.ack; one that was never sent or is confirmed already is ignored
   * @param multiple all up to and including that tag
   */
  confirm(deliveryTag: number, multiple: boolean, confirmed: (entry: T) => void): void {
    const last = this.#tagBase + deliveryTag - 1;
    if (last >= this.#next) return;
    for (let index = multiple ? this.#head : Math.max(last, this.#head); index <= last; index++) {
      const slot = index & (this.#ring.length - 1);
      const entry = this.#ring[slot];
      if (entry === undefined) continue;
      this.#ring[slot] = undefined;
      this.#size--;
      confirmed(entry);
    }
    while (this.#head < this.#next && this.#ring[this.#head & (this.#ring.length - 1)] === undefined)
      this.#head++;
  }

  /**
   * A new channel begins: all that is unconfirmed is to be sent, oldest first, with tags from 1.
   * @param drop takes entries out for good; asked about the newest first
   */
  rewind(drop: (entry: T) => boolean = () => false): void {
    const mask = this.#ring.length - 1;
    const sentEnd = Math.max(this.#next, this.#resendEnd);
    let resendEnd: number | undefined;
    let write = this.#tail;
    // Moves the entries up to the tail, so that holes end up below the head.
    for (let read = this.#tail - 1; read >= this.#head; read--) {
      const entry = this.#ring[read & mask];
      if (entry === undefined) continue;
      if (drop(entry)) {
        this.#ring[read & mask] = undefined;
        this.#size--;
        continue;
      }
      if (read < sentEnd) resendEnd ??= write;
      write--;
      if (write === read) continue;
      this.#ring[write & mask] = entry;
      this.#ring[read & mask] = undefined;
    }
    this.#head = write;
    this.#next = write;
    this.#tagBase = write;
    this.#resendEnd = resendEnd ?? write;
  }

  #grow(): void {
    const grown: (T | undefined)[] = new Array(this.#ring.length * 2).fill(undefined);
    for (let index = this.#head; index < this.#tail; index++) {
      grown[index & (grown.length - 1)] = this.#ring[index & (this.#ring.length - 1)];
    }
    this.#ring = grown;
  }
}
