import { TokenBucket } from '../util/token-bucket.ts';

export interface AddressLimits {
  /** Connections at once. 0: no limit. */
  readonly maxConnections: number;
  /** New connections a second. 0: no limit. */
  readonly connectRate: number;
  /** New connections at once, before the rate counts. */
  readonly connectBurst: number;
  /** Failed handshakes and flaps before an address is shut out. 0: never. */
  readonly maxFailures: number;
  /** After this long without another, half the failures are forgiven. */
  readonly forgiveMs: number;
  /** How long the first failure too many shuts an address out; doubles with each further one. */
  readonly penaltyMs: number;
  readonly maxPenaltyMs: number;
  /** Addresses that are remembered. */
  readonly maxTracked: number;
}

export type AddressRefusal = 'address_connections' | 'address_rate' | 'address_penalty';

/** What one worker tells the others of an address, so that the limits hold for all of them together. */
export interface AddressChange {
  readonly address: string;
  /** Connections that are open there now. */
  readonly open: number;
  /** New since it was last told of. */
  readonly admitted: number;
  readonly failures: number;
}

class Entry {
  readonly address: string;
  open = 0;
  /** Open at the other workers, by worker, as they last said. */
  elsewhere: Map<number, number> | null = null;
  bucket: TokenBucket | null = null;
  failures = 0;
  failuresAtMs = 0;
  shutOutUntilMs = 0;
  /** The others know of connections here. */
  isShared = false;
  untoldAdmitted = 0;
  untoldFailures = 0;

  constructor(address: string) {
    this.address = address;
  }

  get openElsewhere(): number {
    let sum = 0;
    if (this.elsewhere !== null) for (const open of this.elsewhere.values()) sum += open;
    return sum;
  }

  get isIdle(): boolean {
    return this.open === 0 && (this.elsewhere === null || this.elsewhere.size === 0);
  }
}

/** Enough to tell of the addresses that matter, few enough to pass on in one piece. */
const MAX_CHANGES_PER_REPORT = 1_000;

/**
 * Limits per address, and the memory of those that misbehave. Pure.
 *
 * The table has a fixed size. For a new address the one goes that was idle longest: first among those with a clean
 * record, then among those with failures. One with open connections never goes; where the whole table has some, new
 * addresses are let in unseen.
 *
 * Each worker counts for itself and tells the others of the addresses that have used up a good part of a limit. So
 * what all admit together is over a limit by no more than what comes in between two reports.
 */
export class AddressTable {
  readonly #limits: AddressLimits;
  /** Part of a limit, as a divisor, from which on the other workers have to know. */
  readonly #shareFrom: number;
  readonly #clean = new Map<string, Entry>();
  readonly #marked = new Map<string, Entry>();
  readonly #busy = new Map<string, Entry>();
  readonly #changed = new Set<Entry>();

  constructor(limits: AddressLimits, workers: number) {
    this.#limits = limits;
    this.#shareFrom = 2 * workers;
  }

  get size(): number {
    return this.#clean.size + this.#marked.size + this.#busy.size;
  }

  /** Counts a new connection, unless a limit forbids it. */
  admit(address: string, nowMs: number): AddressRefusal | undefined {
    const entry = this.#find(address) ?? this.#add(address);
    if (entry === undefined) return undefined;
    const { maxConnections, connectRate, connectBurst } = this.#limits;
    if (entry.shutOutUntilMs > nowMs) return 'address_penalty';
    if (maxConnections > 0 && entry.open + entry.openElsewhere >= maxConnections)
      return 'address_connections';
    if (connectRate > 0) {
      entry.bucket ??= new TokenBucket(connectRate, connectBurst, nowMs);
      if (!entry.bucket.take(nowMs)) return 'address_rate';
    }
    entry.open++;
    entry.untoldAdmitted++;
    this.#changed.add(entry);
    this.#shelve(entry);
    return undefined;
  }

  /** One of its connections is gone. */
  closed(address: string): void {
    const entry = this.#find(address);
    if (entry === undefined || entry.open === 0) return;
    entry.open--;
    this.#changed.add(entry);
    this.#shelve(entry);
  }

  /** A handshake failed, or a connection was over as soon as it was made. */
  failed(address: string, nowMs: number): void {
    const entry = this.#find(address);
    if (entry === undefined || this.#limits.maxFailures === 0) return;
    entry.untoldFailures++;
    this.#changed.add(entry);
    this.#addFailures(entry, 1, nowMs);
  }

  /** What the other workers have to know; each change is told once. */
  report(nowMs: number): AddressChange[] {
    const changes: AddressChange[] = [];
    for (const entry of this.#changed) {
      if (changes.length === MAX_CHANGES_PER_REPORT) break;
      this.#changed.delete(entry);
      if (!entry.isShared && !this.#matters(entry, nowMs)) continue;
      const { address, open, untoldAdmitted, untoldFailures } = entry;
      changes.push({ address, open, admitted: untoldAdmitted, failures: untoldFailures });
      entry.isShared = open > 0;
      entry.untoldAdmitted = 0;
      entry.untoldFailures = 0;
    }
    return changes;
  }

  /** What another worker has told. */
  learn(worker: number, changes: readonly AddressChange[], nowMs: number): void {
    const { connectRate, connectBurst } = this.#limits;
    for (const { address, open, admitted, failures } of changes) {
      const entry = this.#find(address) ?? this.#add(address);
      if (entry === undefined) continue;
      if (open > 0) {
        entry.elsewhere ??= new Map();
        entry.elsewhere.set(worker, open);
      } else entry.elsewhere?.delete(worker);
      if (connectRate > 0 && admitted > 0) {
        entry.bucket ??= new TokenBucket(connectRate, connectBurst, nowMs);
        entry.bucket.spend(admitted, nowMs);
      }
      if (failures > 0) this.#addFailures(entry, failures, nowMs);
      this.#shelve(entry);
    }
  }

  /** Another worker has gone, or begun: its connections are gone, and it knows nothing of ours. */
  forget(worker: number): void {
    for (const entry of [...this.#busy.values()]) {
      if (entry.isShared) this.#changed.add(entry);
      if (entry.elsewhere?.delete(worker)) this.#shelve(entry);
    }
  }

  #matters(entry: Entry, nowMs: number): boolean {
    const { maxConnections, connectBurst, maxFailures } = this.#limits;
    const used = entry.bucket === null ? 0 : connectBurst - entry.bucket.available(nowMs);
    return (
      (maxConnections > 0 && entry.open * this.#shareFrom >= maxConnections) ||
      (entry.bucket !== null && used * this.#shareFrom >= connectBurst) ||
      (maxFailures > 0 && entry.failures * this.#shareFrom >= maxFailures)
    );
  }

  /** Failures fade by half in each `forgiveMs`; those past the limit shut the address out, longer each time. */
  #addFailures(entry: Entry, failures: number, nowMs: number): void {
    const { maxFailures, forgiveMs, penaltyMs, maxPenaltyMs } = this.#limits;
    const faded = entry.failures * 0.5 ** ((nowMs - entry.failuresAtMs) / forgiveMs);
    entry.failures = faded + failures;
    entry.failuresAtMs = nowMs;
    const excess = entry.failures - maxFailures;
    if (excess <= 0) return;
    const outMs = Math.min(maxPenaltyMs, penaltyMs * 2 ** Math.min(Math.floor(excess), 30));
    entry.shutOutUntilMs = Math.max(entry.shutOutUntilMs, nowMs + outMs);
  }

  #find(address: string): Entry | undefined {
    return this.#busy.get(address) ?? this.#clean.get(address) ?? this.#marked.get(address);
  }

  #add(address: string): Entry | undefined {
    if (this.size >= this.#limits.maxTracked && !this.#evict()) return undefined;
    const entry = new Entry(address);
    this.#clean.set(address, entry);
    return entry;
  }

  #evict(): boolean {
    for (const shelf of [this.#clean, this.#marked]) {
      for (const [address, entry] of shelf) {
        shelf.delete(address);
        this.#changed.delete(entry);
        return true;
      }
    }
    return false;
  }

  /** Puts it where it belongs now, as the one that was used last. */
  #shelve(entry: Entry): void {
    const { address } = entry;
    if (!this.#busy.delete(address) && !this.#clean.delete(address)) this.#marked.delete(address);
    const shelf = !entry.isIdle ? this.#busy : entry.failures > 0 ? this.#marked : this.#clean;
    shelf.set(address, entry);
  }
}
