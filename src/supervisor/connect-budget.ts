import type { ByKind } from '../acceptor/permit-lease.ts';
import { TokenBucket } from '../util/token-bucket.ts';

/**
 * The machine's budget for one kind of new connections. Permits come into being here and nowhere else, so it does not
 * matter how many workers there are, nor how devices are spread over them. Those of a worker that dies are lost. Pure.
 */
class PermitPool {
  readonly #bucket: TokenBucket | undefined;
  readonly #wants = new Map<number, number>();
  #first = 0;

  constructor(rate: number, nowMs: number) {
    this.#bucket = rate === 0 ? undefined : new TokenBucket(rate, rate, nowMs);
  }

  want(worker: number, permits: number): void {
    if (permits > 0) this.#wants.set(worker, permits);
    else this.#wants.delete(worker);
  }

  forget(worker: number): void {
    this.#wants.delete(worker);
  }

  /** Shares out what is there: evenly, but to nobody more than he wants. What is left unmet must be asked for again. */
  share(nowMs: number): Map<number, number> {
    // No limit (any more): a worker that still knows of one gets what it asks for.
    if (this.#bucket === undefined) {
      const wanted = new Map(this.#wants);
      this.#wants.clear();
      return wanted;
    }
    const granted = new Map<number, number>();
    const there = Math.floor(this.#bucket.available(nowMs));
    let left = Math.max(0, there);
    // Where there is less than one for each, another one comes first each time.
    const order = [...this.#wants.keys()].sort((a, b) => a - b);
    order.push(...order.splice(0, this.#first++ % Math.max(1, order.length)));
    while (left > 0 && this.#wants.size > 0) {
      const each = Math.max(1, Math.floor(left / this.#wants.size));
      for (const worker of order) {
        const wanted = this.#wants.get(worker) ?? 0;
        const gets = Math.min(each, wanted, left);
        if (gets === 0) continue;
        left -= gets;
        granted.set(worker, (granted.get(worker) ?? 0) + gets);
        this.want(worker, wanted - gets);
      }
    }
    this.#wants.clear();
    this.#bucket.spend(Math.max(0, there) - left, nowMs);
    return granted;
  }
}

/** Shares the configured rates of new connections out among the workers, by what they ask for. Pure. */
export class ConnectBudget {
  readonly #full: PermitPool;
  readonly #resumed: PermitPool;
  /** Those that have asked and are owed an answer. */
  readonly #asking = new Set<number>();

  /** @param rates per second for the machine; 0: no limit */
  constructor(rates: ByKind, nowMs: number) {
    this.#full = new PermitPool(rates.full, nowMs);
    this.#resumed = new PermitPool(rates.resumed, nowMs);
  }

  /** Takes the place of what the worker asked for before. */
  ask(worker: number, wanted: ByKind): void {
    this.#asking.add(worker);
    this.#full.want(worker, wanted.full);
    this.#resumed.want(worker, wanted.resumed);
  }

  forget(worker: number): void {
    this.#asking.delete(worker);
    this.#full.forget(worker);
    this.#resumed.forget(worker);
  }

  /** Answers all who have asked: a grant of nothing says that the supervisor lives. */
  answers(nowMs: number): [worker: number, permits: ByKind][] {
    if (this.#asking.size === 0) return [];
    const full = this.#full.share(nowMs);
    const resumed = this.#resumed.share(nowMs);
    const answers = [...this.#asking].map((worker): [number, ByKind] => [
      worker,
      { full: full.get(worker) ?? 0, resumed: resumed.get(worker) ?? 0 },
    ]);
    this.#asking.clear();
    return answers;
  }
}
