/**
 * Which deliveries of one channel are settled, so that many can be acknowledged with one basic.ack. Pure.
 *
 *   tags   5   6   7   8   9  10  11
 *          ✓   ✓   ✓   ·   ✓   ·   ✓      flush → ack 7 (multiple), ack 9, ack 11
 *
 * Everything up to the first unsettled tag goes with one multiple ack; what is settled behind it is acked one by
 * one, so that a reply parked for long holds nothing else back.
 */
export interface Ack {
  deliveryTag: number;
  /** All up to and including the tag. */
  multiple: boolean;
}

export class AckTracker {
  /** Tags that were delivered and are not settled; a Set keeps them in order of arrival. */
  readonly #open = new Set<number>();
  #settled: number[] = [];
  #highest = 0;

  delivered(deliveryTag: number): void {
    this.#open.add(deliveryTag);
    this.#highest = deliveryTag;
  }

  settled(deliveryTag: number): void {
    if (this.#open.delete(deliveryTag)) this.#settled.push(deliveryTag);
  }

  /** It goes back to the queue: no ack covers it. */
  givenBack(deliveryTag: number): void {
    this.#open.delete(deliveryTag);
  }

  get needsFlush(): boolean {
    return this.#settled.length > 0;
  }

  /** Everything delivered is settled, and flushed. */
  get isEmpty(): boolean {
    return this.#open.size === 0 && !this.needsFlush;
  }

  /** The acks that cover everything settled since the last flush. */
  flush(): Ack[] {
    const firstOpen = this.#open.values().next().value ?? this.#highest + 1;
    let upTo = 0;
    let below = 0;
    const acks: Ack[] = [];
    for (const tag of this.#settled) {
      if (tag > firstOpen) acks.push({ deliveryTag: tag, multiple: false });
      else {
        below++;
        upTo = Math.max(upTo, tag);
      }
    }
    this.#settled = [];
    if (below > 0) acks.push({ deliveryTag: upTo, multiple: below > 1 });
    return acks;
  }
}
