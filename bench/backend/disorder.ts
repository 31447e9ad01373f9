/**
 * Holds things back until there are `size` of them, and lets them go in random order; what is held is let go by
 * `flush`, too, so that the last ones do not wait for ever. Pure.
 */
export class Disorder<T> {
  readonly #size: number;
  readonly #random: () => number;
  #held: T[] = [];

  constructor(size: number, random: () => number = Math.random) {
    this.#size = size;
    this.#random = random;
  }

  /** @returns what is to go now */
  push(item: T): T[] {
    this.#held.push(item);
    return this.#held.length >= this.#size ? this.flush() : [];
  }

  /** Fisher and Yates. */
  flush(): T[] {
    const items = this.#held;
    this.#held = [];
    for (let i = items.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1));
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }
}
