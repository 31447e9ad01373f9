import type { Message } from 'amqplib';

interface LineHeaders {
  connection_id: string;
  from_device_seq: number;
  republished?: boolean;
}

/**
 * Holds device lines, in the order in which a backend took them, against the wire contract: each connection's
 * numbers from 0 without a hole and in order, and no line twice unless one of the two is marked. The marked one may
 * come first: what a lost connection had carried can reach the queue after what was sent again on the next.
 */
export class LineAudit {
  /** What is wrong, one text each; expect it to equal []. */
  readonly violations: string[] = [];
  /** Lines that came again. */
  copies = 0;
  readonly #connections = new Map<string, string[]>();
  readonly #marked = new Set<string>();

  static of(messages: Iterable<Message>): LineAudit {
    const audit = new LineAudit();
    for (const message of messages) audit.add(message);
    return audit;
  }

  add({ content, properties: { headers } }: Message): void {
    const { connection_id: id, from_device_seq: seq, republished } = headers as LineHeaders;
    const lines = this.lines(id);
    const line = String(content);
    if (republished) this.#marked.add(`${id} ${seq}`);
    if (seq < lines.length) {
      this.copies++;
      if (!this.#marked.has(`${id} ${seq}`)) this.violations.push(`${id}: ${seq} came twice, unmarked`);
      if (lines[seq] !== line) this.violations.push(`${id}: ${seq} came twice, and differs`);
      return;
    }
    if (seq > lines.length) this.violations.push(`${id}: ${seq} came before ${lines.length}`);
    // One report for each hole: go on behind it.
    while (lines.length < seq) lines.push('(missing)');
    lines.push(line);
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
