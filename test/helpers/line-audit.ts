import type { Message } from 'amqplib';

interface LineHeaders {
  connection_id: string;
  from_device_seq: number;
  republished?: boolean;
}

/** A line that came before some that it follows. */
interface Gap {
  readonly before: number;
  readonly missing: Set<number>;
}

const MISSING = '(missing)';

/**
 * Holds device lines, in the order in which a backend took them, against the wire contract: each connection's
 * numbers from 0 without a hole and in order, and no line twice unless one of the two is marked. The marked one may
 * come first: what a lost connection had carried can reach the queue after what was sent again on the next.
 */
export class LineAudit {
  /** Lines that came again. */
  copies = 0;
  readonly #violations: string[] = [];
  readonly #connections = new Map<string, string[]>();
  readonly #marked = new Set<string>();
  readonly #gaps = new Map<string, Gap>();
  readonly #mayBeEarly: boolean;

  /**
   * @param options.mayBeEarly a line may come too early, if it comes again behind those that it follows, marked: where a
   * queue is deleted, and somebody else declares it anew between them. Default: false.
   */
  constructor({ mayBeEarly = false } = {}) {
    this.#mayBeEarly = mayBeEarly;
  }

  static of(messages: Iterable<Message>, options?: { mayBeEarly?: boolean }): LineAudit {
    const audit = new LineAudit(options);
    for (const message of messages) audit.add(message);
    return audit;
  }

  /** What is wrong, one text each; expect it to equal []. */
  get violations(): string[] {
    const early = [...this.#gaps].map(
      ([id, { before, missing }]) => `${id}: ${before} came before ${[...missing].join(', ') || 'others'}`,
    );
    return [...this.#violations, ...early];
  }

  add({ content, properties: { headers } }: Message): void {
    const { connection_id: id, from_device_seq: seq, republished } = headers as LineHeaders;
    const lines = this.lines(id);
    const line = String(content);
    if (republished) this.#marked.add(`${id} ${seq}`);
    const gap = this.#gaps.get(id);
    if (gap?.missing.delete(seq)) {
      lines[seq] = line;
      return;
    }
    if (seq < lines.length) {
      this.copies++;
      if (!this.#marked.has(`${id} ${seq}`)) this.#violations.push(`${id}: ${seq} came twice, unmarked`);
      if (lines[seq] !== line) this.#violations.push(`${id}: ${seq} came twice, and differs`);
      if (this.#mayBeEarly && republished && gap?.before === seq && gap.missing.size === 0)
        this.#gaps.delete(id);
      return;
    }
    if (seq > lines.length) this.#open(id, lines, seq);
    lines.push(line);
  }

  /** One report for each hole: goes on behind it. */
  #open(id: string, lines: string[], before: number): void {
    const missing = new Set<number>();
    for (let n = lines.length; n < before; n++) missing.add(lines.push(MISSING) - 1);
    if (this.#gaps.has(id)) this.#violations.push(`${id}: ${before} came too early too`);
    else this.#gaps.set(id, { before, missing });
  }

  /** The lines of a connection, each once, by number. */
  lines(connectionId: string): string[] {
    let lines = this.#connections.get(connectionId);
    if (lines === undefined) {
      lines = [];
      this.#connections.set(connectionId, lines);
    }
    return lines;
  }

  /** How many different lines came, of each connection. */
  get counts(): Record<string, number> {
    return Object.fromEntries([...this.#connections].map(([id, lines]) => [id, lines.length]));
  }

  /** How many different lines came in all. */
  get total(): number {
    let total = 0;
    for (const lines of this.#connections.values()) total += lines.length;
    return total;
  }
}
