import { PROBE_TYPE } from '../broker/envelope.ts';

/**
 * The ledger holds what devices sent against what a backend got, and what the backend replied against what devices
 * got, and states what was lost, duplicated or out of order. Tests and load tests keep it alike.
 *
 *   device ──► SessionTally ─────────────┐
 *                                        ▼
 *   backend ─► Ledger.lineTaken()      report()
 *              Ledger.replyPublished()
 *              Ledger.undelivered()
 *
 * A session is one connection of one device. It names itself (without spaces; a reconnect is a new session) and its
 * lines are `<session> <n>`, n from 0, filled up behind a further space. A reply carries the line it answers.
 */
export interface SessionTally {
  readonly session: string;
  /** Lines that were given to the socket: 0 to `sent - 1`. */
  readonly sent: number;
  /** Different replies that came. */
  readonly received: number;
  /** Replies that came again. */
  readonly duplicated: number;
  /** Replies that came behind a later one. */
  readonly misordered: number;
  /** Replies that did not come although a later one did, as `[first, last]`. */
  readonly missing: readonly (readonly [number, number])[];
  /** Number behind the last reply that came. */
  readonly nextReply: number;
  /** The connection ended otherwise than by the device: then what was on the way is nobody's promise. */
  readonly dropped: boolean;
  readonly faults: readonly ReplyFault[];
}

/** An example of what is wrong with the replies that a device got. */
export interface ReplyFault {
  readonly kind: 'foreign' | 'misordered' | 'duplicated';
  readonly text: string;
}

export interface LedgerSide {
  readonly lost: number;
  /** Copies that nothing excuses. */
  readonly unmarked: number;
  readonly misordered: number;
}

export interface LedgerReport {
  readonly lines: LedgerSide & {
    readonly sent: number;
    readonly taken: number;
    /** Copies that say so: `republished`. */
    readonly marked: number;
    /** The first of them. */
    readonly firstMarked: string | undefined;
    /** Copies that the broker delivered again, to a backend that had lost its connection. */
    readonly redelivered: number;
    /** The last lines of dropped sessions: sent, and perhaps never read by the gateway. */
    readonly unread: number;
  };
  readonly replies: LedgerSide & {
    readonly published: number;
    readonly received: number;
    /** By reason. */
    readonly undelivered: Readonly<Record<string, number>>;
    /** Of dropped sessions: neither received nor undelivered, as when the last write met a closed socket. */
    readonly unknown: number;
  };
  /** What breaks a promise, the first examples of each kind; empty when all is well. */
  readonly violations: readonly string[];
}

const EXAMPLES = 3;

/** Numbers from 0: all below `next`, and some above. */
class Numbers {
  next = 0;
  highest = -1;
  readonly #beyond = new Set<number>();

  /** @returns false when it was there already */
  add(n: number): boolean {
    if (this.has(n)) return false;
    this.highest = Math.max(this.highest, n);
    if (n !== this.next) {
      this.#beyond.add(n);
      return true;
    }
    this.next++;
    while (this.#beyond.delete(this.next)) this.next++;
    return true;
  }

  has(n: number): boolean {
    return n < this.next || this.#beyond.has(n);
  }

  get size(): number {
    return this.next + this.#beyond.size;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let n = 0; n < this.next; n++) yield n;
    yield* this.#beyond;
  }

  /** The numbers below `end` that are missing. */
  *missing(end: number): Generator<number> {
    for (let n = this.next; n < end; n++) if (!this.#beyond.has(n)) yield n;
  }
}

/** A device's own half: makes its lines and checks the replies. */
export class SessionAudit implements SessionTally {
  readonly session: string;
  sent = 0;
  received = 0;
  duplicated = 0;
  misordered = 0;
  missing: [number, number][] = [];
  nextReply = 0;
  dropped = false;
  readonly faults: ReplyFault[] = [];

  /** @param session without spaces */
  constructor(session: string) {
    this.session = session;
  }

  /** The next line to send, filled up to a length. */
  nextLine(fillTo = 0): string {
    return lineOf(this.session, this.sent++, fillTo);
  }

  /** Takes a reply; returns its number, or -1 when it is none of this session's. */
  reply(body: Buffer | string): number {
    const [session, n] = parseLine(body);
    if (session !== this.session || n < 0) {
      this.#fault('foreign', `${this.session}: got what is not its own: ${String(body).slice(0, 80)}`);
      return -1;
    }
    if (n >= this.nextReply) {
      if (n > this.nextReply) this.missing.push([this.nextReply, n - 1]);
      this.nextReply = n + 1;
      this.received++;
    } else if (this.#fill(n)) {
      this.misordered++;
      this.received++;
      this.#fault('misordered', `${this.session}: reply ${n} came behind reply ${this.nextReply - 1}`);
    } else {
      this.duplicated++;
      this.#fault('duplicated', `${this.session}: reply ${n} came twice`);
    }
    return n;
  }

  toJSON(): SessionTally {
    const { session, sent, received, duplicated, misordered, missing, nextReply, dropped, faults } = this;
    return { session, sent, received, duplicated, misordered, missing, nextReply, dropped, faults };
  }

  #fill(n: number): boolean {
    const at = this.missing.findIndex(([first, last]) => n >= first && n <= last);
    if (at === -1) return false;
    const [first, last] = this.missing[at]!;
    const rest: [number, number][] = [
      [first, n - 1],
      [n + 1, last],
    ];
    this.missing.splice(at, 1, ...rest.filter(([from, to]) => from <= to));
    return true;
  }

  #fault(kind: ReplyFault['kind'], text: string): void {
    if (this.faults.filter((fault) => fault.kind === kind).length < EXAMPLES)
      this.faults.push({ kind, text });
  }
}

/** What a ledger reads of an AMQP message. */
export interface LedgerMessage {
  readonly content: Buffer;
  readonly fields?: { readonly redelivered?: boolean };
  readonly properties: {
    readonly type?: string | undefined;
    readonly headers?: Readonly<Record<string, unknown>> | undefined;
  };
}

class SessionEntry {
  connectionId: string | undefined;
  readonly lines = new Numbers();
  /** Lines that came marked, in case the unmarked copy comes later. */
  readonly marked = new Set<number>();
  /** `lines.next` when the backend lost its connection last: what it had taken before can be delivered again. */
  redeliverableBelow = 0;
  readonly published = new Numbers();
  readonly undelivered = new Numbers();
}

/** The backend's half, and the account of both. */
export class Ledger {
  readonly #sessions = new Map<string, SessionEntry>();
  readonly #reasons: Record<string, number> = {};
  readonly #examples = new Map<string, string[]>();
  #taken = 0;
  readonly #lineFaults = { marked: 0, redelivered: 0, unmarked: 0, misordered: 0 };
  #firstMarked: string | undefined;

  /** Different lines taken. */
  get taken(): number {
    return this.#taken;
  }

  /** Different replies published to one session. */
  publishedTo(session: string): number {
    return this.#sessions.get(session)?.published.size ?? 0;
  }

  isUndelivered(session: string, n: number): boolean {
    return this.#sessions.get(session)?.undelivered.has(n) ?? false;
  }

  /** The id that the gateway gave a session's connection, once a line has come. */
  connectionIdOf(session: string): string | undefined {
    return this.#sessions.get(session)?.connectionId;
  }

  /**
   * Enters a device line.
   * @returns its session and number, and whether it came for the first time: a backend answers only those
   */
  lineTaken(message: LedgerMessage): { session: string; n: number; isFirst: boolean } {
    const [session, n] = parseLine(message.content);
    const { connection_id: id, from_device_seq: seq, republished } = message.properties.headers ?? {};
    const entry = this.#entry(session);
    entry.connectionId ??= String(id);
    if (entry.connectionId !== id)
      this.#violation('names', `${session} comes from ${String(id)} too, not only ${entry.connectionId}`);
    if (seq !== n) this.#violation('numbers', `${session} ${n} came as from_device_seq ${String(seq)}`);
    const { lines } = entry;
    const highest = lines.highest;
    if (republished === true) entry.marked.add(n);
    if (lines.add(n)) {
      this.#taken++;
      // The broker had given it to a backend before, which was gone before it took it.
      if (n < highest && message.fields?.redelivered !== true) {
        this.#lineFaults.misordered++;
        this.#violation('order', `${session}: line ${n} came behind line ${highest}`);
      }
      return { session, n, isFirst: true };
    }
    if (message.fields?.redelivered) {
      this.#lineFaults.redelivered++;
    } else if (entry.marked.has(n)) {
      this.#lineFaults.marked++;
      this.#firstMarked ??= `${session}: line ${n} came twice, marked`;
    } else if (n < entry.redeliverableBelow) {
      this.#lineFaults.redelivered++;
    } else {
      this.#lineFaults.unmarked++;
      this.#violation('copies', `${session}: line ${n} came twice, unmarked`);
    }
    return { session, n, isFirst: false };
  }

  /** The backend's own connection was lost: the broker may deliver again what it had taken, and need not say so. */
  backendReconnected(): void {
    for (const entry of this.#sessions.values()) entry.redeliverableBelow = entry.lines.highest + 1;
  }

  /** Enters a reply that the broker has confirmed, or is about to. Replies are numbered like their lines. */
  replyPublished(session: string, n: number): void {
    this.#entry(session).published.add(n);
  }

  /** Enters a message of the queue `undelivered`. */
  undelivered(message: LedgerMessage): void {
    // The last readiness probe of a gateway that was killed.
    if (message.properties.type === PROBE_TYPE) return;
    const [session, n] = parseLine(message.content);
    const reason = String(message.properties.headers?.reason);
    if (!this.#entry(session).undelivered.add(n)) return;
    this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
  }

  /** Sessions that have not got, and have not lost, all replies to what the backend has taken of them. */
  openReplies(tallies: Iterable<SessionTally>): number {
    let open = 0;
    for (const tally of tallies) {
      const { published, undelivered } = this.#entry(tally.session);
      if (!tally.dropped) open += Math.max(0, published.size - undelivered.size - tally.received);
    }
    return open;
  }

  /** The account, when nothing is on the way any more. */
  report(tallies: Iterable<SessionTally>): LedgerReport {
    const faults = { ...this.#lineFaults, firstMarked: this.#firstMarked };
    const lines = { sent: 0, taken: this.#taken, lost: 0, unread: 0, ...faults };
    const replies = { published: 0, received: 0, lost: 0, unmarked: 0, misordered: 0, unknown: 0 };
    const known = new Set<string>();
    for (const tally of tallies) {
      const { session, dropped } = tally;
      const entry = this.#entry(session);
      known.add(session);
      lines.sent += tally.sent;
      const promised = dropped ? entry.lines.highest + 1 : tally.sent;
      lines.unread += tally.sent - promised;
      for (const n of entry.lines.missing(promised)) {
        lines.lost++;
        this.#violation('lost lines', `${session}: line ${n} of ${tally.sent} never came`);
      }
      if (entry.lines.highest >= tally.sent)
        this.#violation('invented', `${session}: line ${entry.lines.highest} came, ${tally.sent} were sent`);

      replies.published += entry.published.size;
      replies.received += tally.received;
      replies.unmarked += tally.duplicated;
      replies.misordered += tally.misordered;
      for (const { kind, text } of tally.faults) this.#violation(`${kind} replies`, text);
      for (const n of repliesWithoutFate(tally, entry)) {
        if (dropped) {
          replies.unknown++;
        } else {
          replies.lost++;
          this.#violation('lost replies', `${session}: reply ${n} neither came nor is it undelivered`);
        }
      }
      // Of a dropped one nobody can tell the gateway what came.
      for (const n of dropped ? [] : entry.undelivered)
        if (hasCome(tally, n))
          this.#violation('two fates', `${session}: reply ${n} came, and is undelivered too`);
    }
    for (const session of this.#sessions.keys())
      if (!known.has(session)) this.#violation('unknown', `session ${session} is nobody's`);
    return {
      lines,
      replies: { ...replies, undelivered: { ...this.#reasons } },
      violations: [...this.#examples.values()].flat(),
    };
  }

  #entry(session: string): SessionEntry {
    let entry = this.#sessions.get(session);
    if (entry === undefined) {
      entry = new SessionEntry();
      this.#sessions.set(session, entry);
    }
    return entry;
  }

  /** Keeps the first examples of each kind. */
  #violation(kind: string, text: string): void {
    const examples = this.#examples.get(kind);
    if (examples === undefined) this.#examples.set(kind, [text]);
    else if (examples.length < EXAMPLES && !examples.includes(text)) examples.push(text);
  }
}

function hasCome({ nextReply, missing }: SessionTally, n: number): boolean {
  return n < nextReply && !missing.some(([first, last]) => n >= first && n <= last);
}

function* repliesWithoutFate(tally: SessionTally, entry: SessionEntry): Generator<number> {
  const hasFate = (n: number) => entry.undelivered.has(n) || !entry.published.has(n);
  for (const [first, last] of tally.missing) for (let n = first; n <= last; n++) if (!hasFate(n)) yield n;
  for (let n = tally.nextReply; n <= entry.published.highest; n++) if (!hasFate(n)) yield n;
}

function lineOf(session: string, n: number, fillTo: number): string {
  const line = `${session} ${n}`;
  return line.length + 1 < fillTo ? `${line} `.padEnd(fillTo, '.') : line;
}

/** Session and number of a line; the number is -1 when it has none. */
function parseLine(line: Buffer | string): [string, number] {
  const [session = '', n = ''] = String(line).split(' ', 2);
  return [session, /^\d+$/.test(n) ? Number(n) : -1];
}
