/**
 * Tells that a peer with heartbeats is gone: nothing has come from it for two intervals (AMQP 0-9-1, 4.2.7). amqplib
 * looks once an interval, so that it takes two to three of them. Pure.
 *
 * Looks are counted instead of time: after a turn that took seconds, what has come meanwhile is not read yet.
 */
export class Silence {
  readonly #perInterval: number;
  #bytes = 0;
  #silentLooks = 0;

  constructor(looksPerInterval: number) {
    this.#perInterval = looksPerInterval;
  }

  /**
   * One of the looks, at a regular interval.
   * @param bytes all that have come so far
   * @returns whether the peer has been silent for so long that by the next look it would be more than two intervals
   */
  look(bytes: number): boolean {
    this.#silentLooks = bytes === this.#bytes ? this.#silentLooks + 1 : 0;
    this.#bytes = bytes;
    return this.#silentLooks >= 2 * this.#perInterval - 1;
  }
}
