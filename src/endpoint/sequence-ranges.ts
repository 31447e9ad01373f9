/**
 * A set of sequence numbers kept as a few sorted, disjoint ranges. What happens when there would be too many is
 * the caller's choice: `add` bridges the smallest hole, `addIfRoom` leaves the number out.
 */
export class SequenceRanges {
  readonly #maxRanges: number;
  /** Ranges as from, to, from, to, …; both ends included. */
  readonly #bounds: number[] = [];

  constructor(maxRanges: number) {
    this.#maxRanges = maxRanges;
  }

  has(seq: number): boolean {
    return this.endOfRangeAt(seq) !== undefined;
  }

  /** The last number of the range that holds `seq`, or `undefined`. */
  endOfRangeAt(seq: number): number | undefined {
    for (let i = 0; i < this.#bounds.length; i += 2) {
      if (seq < this.#bounds[i]!) return undefined;
      if (seq <= this.#bounds[i + 1]!) return this.#bounds[i + 1];
    }
    return undefined;
  }

  /** Adds all numbers from `from` to `to`; past the bound, the two ranges closest to each other become one. */
  add(from: number, to: number): void {
    this.#insert(from, to);
    if (this.count > this.#maxRanges) this.#bridgeSmallestHole();
  }

  /** Adds one number unless it would need one range too many. */
  addIfRoom(seq: number): void {
    const touches = this.has(seq) || this.has(seq - 1) || this.has(seq + 1);
    if (touches || this.count < this.#maxRanges) this.#insert(seq, seq);
  }

  /** Forgets all numbers below `seq`. */
  dropBelow(seq: number): void {
    const bounds = this.#bounds;
    while (bounds.length > 0 && bounds[1]! < seq) bounds.splice(0, 2);
    if (bounds.length > 0 && bounds[0]! < seq) bounds[0] = seq;
  }

  get count(): number {
    return this.#bounds.length / 2;
  }

  #insert(from: number, to: number): void {
    const bounds = this.#bounds;
    let start = 0;
    while (start < bounds.length && bounds[start + 1]! < from - 1) start += 2;
    let end = start;
    while (end < bounds.length && bounds[end]! <= to + 1) {
      from = Math.min(from, bounds[end]!);
      to = Math.max(to, bounds[end + 1]!);
      end += 2;
    }
    bounds.splice(start, end - start, from, to);
  }

  #bridgeSmallestHole(): void {
    const bounds = this.#bounds;
    let closest = 1;
    for (let i = 3; i < bounds.length - 1; i += 2) {
      if (bounds[i + 1]! - bounds[i]! < bounds[closest + 1]! - bounds[closest]!) closest = i;
    }
    bounds.splice(closest, 2);
  }
}
