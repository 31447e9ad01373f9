import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ByKind, PermitLease } from '../../../src/acceptor/permit-lease.ts';
import { ConnectBudget } from '../../../src/supervisor/connect-budget.ts';

const NONE: ByKind = { full: 0, resumed: 0 };

/** A machine with real leases and a real budget, in steps of 10 ms. */
class Machine {
  nowMs = 0;
  readonly rates: ByKind;
  readonly leases: PermitLease[];
  readonly waiting: number[];
  #budget: ConnectBudget;
  #isSilent = false;

  constructor(rates: ByKind, workers: number) {
    this.rates = rates;
    this.leases = Array.from({ length: workers }, () => new PermitLease(rates, workers, 0));
    this.waiting = this.leases.map(() => 0);
    this.#budget = new ConnectBudget(rates, 0);
  }

  set supervisorIsSilent(isSilent: boolean) {
    this.#isSilent = isSilent;
  }

  restart(worker: number): void {
    this.leases[worker] = new PermitLease(this.rates, this.leases.length, this.nowMs);
    this.#budget.forget(worker);
  }

  /** @param arrivals new connections per step at a worker; returns how many were started in all */
  run(forMs: number, arrivals: (worker: number) => number): number {
    let started = 0;
    for (const end = this.nowMs + forMs; this.nowMs < end; this.nowMs += 10) {
      for (const [worker, lease] of this.leases.entries()) {
        this.waiting[worker] = Math.min(1_000, this.waiting[worker]! + arrivals(worker));
        while (this.waiting[worker]! >= 1 && lease.take('full', this.nowMs)) {
          this.waiting[worker]!--;
          started++;
        }
        if (this.nowMs % 50 === 0) {
          const wanted = lease.wanted({ full: Math.floor(this.waiting[worker]!), resumed: 0 }, this.nowMs);
          if (wanted !== undefined) this.#budget.ask(worker, wanted);
        }
      }
      if (this.nowMs % 20 === 0 && !this.#isSilent)
        for (const [worker, permits] of this.#budget.answers(this.nowMs))
          this.leases[worker]!.granted(permits, this.nowMs);
    }
    return started;
  }
}

describe('the permits for new connections', () => {
  test.each([
    ['one worker', 1, () => 20],
    ['four workers', 4, () => 5],
    ['four workers that get very different shares', 4, (worker: number) => [14, 5, 1, 0][worker]!],
    ['four workers of which one gets all', 4, (worker: number) => (worker === 2 ? 20 : 0)],
  ])('add up to the rate of the machine: %s', (_, workers, arrivals) => {
    const machine = new Machine({ full: 1_000, resumed: 0 }, workers);
    // The first second is that of the burst.
    machine.run(2_000, arrivals);
    const started = machine.run(10_000, arrivals);
    expect(started).toBeGreaterThan(9_800);
    expect(started).toBeLessThanOrEqual(10_100);
  });

  test('are the same few for one worker and for many', () => {
    const started = [1, 4].map((workers) => {
      const machine = new Machine({ full: 10, resumed: 0 }, workers);
      machine.run(5_000, () => 1);
      return machine.run(60_000, () => 1);
    });
    for (const count of started) {
      expect(count).toBeGreaterThan(590);
      expect(count).toBeLessThan(610);
    }
  });

  test('never exceed the rate and one burst, whoever asks when and whatever crashes', () => {
    const spell = fc.record({
      forMs: fc.integer({ min: 1, max: 200 }).map((n) => n * 10),
      arrivals: fc.array(fc.nat(30), { minLength: 3, maxLength: 3 }),
      crash: fc.option(fc.nat(2)),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.array(spell, { maxLength: 10 }), (rate, spells) => {
        const machine = new Machine({ full: rate, resumed: 0 }, 3);
        let started = 0;
        for (const { forMs, arrivals, crash } of spells) {
          started += machine.run(forMs, (worker) => arrivals[worker]!);
          if (crash !== null) machine.restart(crash);
        }
        expect(started).toBeLessThanOrEqual(rate + (rate * machine.nowMs) / 1_000 + 1);
      }),
    );
  });

  test('come from an even share while the supervisor is silent, and from it again once it speaks', () => {
    const machine = new Machine({ full: 100, resumed: 0 }, 4);
    machine.run(5_000, () => 1);
    machine.supervisorIsSilent = true;
    machine.run(3_000, () => 1);
    const alone = machine.run(10_000, () => 1);
    expect(alone).toBeGreaterThan(950);
    expect(alone).toBeLessThan(1_050);
    const oneOnly = machine.run(10_000, (worker) => (worker === 0 ? 1 : 0));
    machine.waiting.fill(0);
    expect(oneOnly).toBeGreaterThan(240);
    machine.supervisorIsSilent = false;
    machine.run(2_000, (worker) => (worker === 0 ? 2 : 0));
    const again = machine.run(10_000, (worker) => (worker === 0 ? 2 : 0));
    expect(again).toBeGreaterThan(950);
    expect(again).toBeLessThan(1_050);
  });

  test('are no limit where there is none', () => {
    const lease = new PermitLease({ full: 0, resumed: 5 }, 1, 0);
    for (let i = 0; i < 1_000; i++) expect(lease.take('full', 0)).toBe(true);
    expect(lease.take('resumed', 0)).toBe(false);
    expect(new PermitLease(NONE, 1, 0).wanted({ full: 9, resumed: 9 }, 0)).toBeUndefined();
  });

  test('for one kind that were used for the other are owed', () => {
    const lease = new PermitLease({ full: 10, resumed: 10 }, 1, 0);
    lease.granted({ full: 1, resumed: 1 }, 0);
    expect(lease.take('resumed', 0)).toBe(true);
    lease.exchange('resumed', 'full');
    expect(lease.take('full', 0)).toBe(false);
    expect(lease.take('resumed', 0)).toBe(true);
  });

  test('hold for sessions that turn out to be no good, even where resumption has no limit', () => {
    const rates = { full: 10, resumed: 0 };
    const lease = new PermitLease(rates, 1, 0);
    const budget = new ConnectBudget(rates, 0);
    let made = 0;
    for (let nowMs = 0; nowMs < 60_000; nowMs += 10) {
      while (made < 10_000 && lease.take('resumed', nowMs)) {
        lease.exchange('resumed', 'full');
        made++;
      }
      const wanted = lease.wanted({ full: 0, resumed: 1 }, nowMs);
      if (wanted !== undefined) budget.ask(0, wanted);
      for (const [, permits] of budget.answers(nowMs)) lease.granted(permits, nowMs);
    }
    expect(made).toBeGreaterThan(500);
    expect(made).toBeLessThan(650);
  });
});
