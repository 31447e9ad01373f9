import type { Reply } from '../reply.ts';
import { encodeFrame, type FramingName, frameOverhead } from './framing.ts';

/**
 * Replies of one connection on their way to the kernel. At most one write is under way: what arrives meanwhile
 * waits here and leaves as the next batch, in one TLS record where it fits. A reply is settled only when the
 * write that carried it has completed.
 */
export class Outbox {
  #waiting: Reply[] = [];
  #writing: Reply[] | null = null;
  #bytes = 0;
  /** Of those that wait, how many have an `expires_at`. */
  #expiring = 0;

  /** Replies that are not settled: waiting or being written. */
  get count(): number {
    return this.#waiting.length + (this.#writing?.length ?? 0);
  }

  /** What they take in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get isWriting(): boolean {
    return this.#writing !== null;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  push(reply: Reply): void {
    this.#waiting.push(reply);
    this.#bytes += reply.heldBytes;
    this.#expiring += expires(reply);
  }

  /**
   * Puts another copy of a reply in the place of the one that is not settled, whether its write has begun or not.
   * @returns the copy that has had the place; `undefined` if no reply with that number and that body is here
   */
  replace(copy: Reply): Reply | undefined {
    for (const replies of [this.#waiting, this.#writing ?? []]) {
      const place = placeOf(copy.toDeviceSeq, replies);
      const older = replies[place];
      if (older === undefined || !older.body.equals(copy.body)) continue;
      replies[place] = copy;
      this.#bytes += copy.heldBytes - older.heldBytes;
      if (replies === this.#waiting) this.#expiring += expires(copy) - expires(older);
      return older;
    }
    return undefined;
  }

  /** Takes those out that wait and whose `expires_at` has passed. */
  takeExpired(wallClockMs: number): Reply[] {
    if (this.#expiring === 0) return [];
    const isExpired = ({ expiresAtMs }: Reply) => expiresAtMs !== undefined && wallClockMs >= expiresAtMs;
    const expired = this.#waiting.filter(isExpired);
    if (expired.length === 0) return expired;
    this.#waiting = this.#waiting.filter((reply) => !isExpired(reply));
    this.#expiring -= expired.length;
    for (const reply of expired) this.#bytes -= reply.heldBytes;
    return expired;
  }

  /**
   * Encodes waiting replies, at least one and as many as fit into `maxBytes`, and counts them as being written.
   * @returns the bytes to write; the caller reports the end of that write with `takeWritten`.
   */
  startWrite(framing: FramingName, maxBytes: number): Buffer {
    const overhead = frameOverhead(framing);
    let taken = 0;
    let bytes = 0;
    for (const reply of this.#waiting) {
      const encoded = reply.byteLength + overhead;
      if (taken > 0 && bytes + encoded > maxBytes) break;
      bytes += encoded;
      taken++;
    }
    const batch = this.#waiting.splice(0, taken);
    const encoded = Buffer.allocUnsafe(bytes);
    let offset = 0;
    for (const reply of batch) {
      offset = encodeFrame(framing, reply.body, encoded, offset);
      this.#expiring -= expires(reply);
    }
    this.#writing = batch;
    for (const reply of this.#waiting) reply.detach();
    return encoded;
  }

  /** The write under way may take long. Those that wait for it are detached already. */
  detachWriting(): void {
    for (const reply of this.#writing ?? []) reply.detach();
  }

  /** The replies whose write has ended, well or badly. */
  takeWritten(): Reply[] {
    const written = this.#writing ?? [];
    this.#writing = null;
    for (const reply of written) this.#bytes -= reply.heldBytes;
    return written;
  }

  /** The replies no write has begun for; for when the connection ends. */
  takeWaiting(): Reply[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#expiring = 0;
    for (const reply of waiting) this.#bytes -= reply.heldBytes;
    return waiting;
  }
}

/**
 * Where the reply with this number is, or -1. The numbers ascend, so that a backlog that comes again as a whole costs
 * little; replies without one stand anywhere between them.
 */
function placeOf(seq: number | undefined, replies: readonly Reply[]): number {
  let [low, high] = [0, replies.length];
  while (seq !== undefined && low < high) {
    const middle = (low + high) >>> 1;
    let at = middle;
    while (at < high && replies[at]!.toDeviceSeq === undefined) at++;
    const found = at === high ? Number.POSITIVE_INFINITY : replies[at]!.toDeviceSeq!;
    if (found === seq) return at;
    if (found < seq) low = at + 1;
    else high = middle;
  }
  return -1;
}

function expires({ expiresAtMs }: Reply): 0 | 1 {
  return expiresAtMs === undefined ? 0 : 1;
}
