import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressGroup } from '../../../src/acceptor/address-group.ts';
import { type AddressLimits, AddressTable } from '../../../src/acceptor/address-table.ts';

const UNLIMITED: AddressLimits = {
  maxConnections: 0,
  connectRate: 0,
  connectBurst: 10,
  maxFailures: 0,
  forgiveMs: 60_000,
  penaltyMs: 1_000,
  maxPenaltyMs: 30_000,
  maxTracked: 100,
};

describe('an address counts as', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['1:2::192.0.2.1', '1:2:0:0::/64'],
  ])('%s as %s', (address, group) => {
    expect(addressGroup(address)).toBe(group);
  });
});

describe('the limits per address', () => {
  test('hold the connections that are open at once', () => {
    const table = new AddressTable({ ...UNLIMITED, maxConnections: 2 }, 1);
    expect([0, 1, 2].map((now) => table.admit('a', now))).toEqual([
      undefined,
      undefined,
      'address_connections',
    ]);
    expect(table.admit('b', 3)).toBeUndefined();
    table.closed('a');
    expect(table.admit('a', 4)).toBeUndefined();
  });

  test('hold the rate of new ones, past a burst', () => {
    const table = new AddressTable({ ...UNLIMITED, connectRate: 5 }, 1);
    const admitted = (fromMs: number, toMs: number) => {
      let count = 0;
      for (let now = fromMs; now < toMs; now += 10) if (table.admit('a', now) === undefined) count++;
      return count;
    };
    expect(admitted(0, 1_000)).toBeCloseTo(15, -1);
    expect(admitted(1_000, 11_000)).toBeGreaterThanOrEqual(49);
    expect(admitted(11_000, 21_000)).toBeLessThanOrEqual(51);
  });

  test('shut out who fails too often, longer each time, and forgive in the end', () => {
    const table = new AddressTable({ ...UNLIMITED, maxFailures: 3 }, 1);
    let now = 0;
    const failsFor: number[] = [];
    for (let failure = 0; failure < 8; failure++) {
      while (table.admit('a', now) !== undefined) now += 100;
      table.failed('a', now);
      table.closed('a');
      const from = now;
      while (table.admit('a', now) !== undefined) now += 100;
      table.closed('a');
      failsFor.push(now - from);
    }
    expect(failsFor.slice(0, 3)).toEqual([0, 0, 0]);
    expect(failsFor.slice(3)).toEqual([...failsFor.slice(3)].sort((a, b) => a - b));
    expect(failsFor.at(-1)).toBeGreaterThan(2_000);
    expect(Math.max(...failsFor)).toBeLessThanOrEqual(30_100);
    now += 10 * 60_000;
    table.admit('a', now);
    table.failed('a', now);
    expect(table.admit('a', now)).toBeUndefined();
  });

  test('remember a bounded number: the idle and innocent go first, one with connections never', () => {
    const table = new AddressTable({ ...UNLIMITED, maxConnections: 1, maxFailures: 1, maxTracked: 4 }, 1);
    table.admit('busy', 0);
    for (const address of ['guilty', 'innocent']) table.admit(address, 0);
    for (let i = 0; i < 3; i++) table.failed('guilty', 0);
    for (const address of ['guilty', 'innocent']) table.closed(address);
    for (let i = 0; i < 100; i++) {
      expect(table.admit(`stranger ${i}`, 1)).toBeUndefined();
      table.closed(`stranger ${i}`);
    }
    expect(table.size).toBe(4);
    expect(table.admit('busy', 2)).toBe('address_connections');
    expect(table.admit('guilty', 2)).toBe('address_penalty');
    // All with connections: a new one is let in unseen, and its close does no harm.
    for (const address of ['x', 'y', 'z', 'w', 'v']) expect(table.admit(address, 3)).toBeUndefined();
    expect(table.size).toBe(4);
    expect(table.admit('busy', 3)).toBe('address_connections');
    for (const address of ['v', 'v', 'w']) table.closed(address);
    expect(table.size).toBe(4);
  });

  test('stay bounded during an hour of connections from everywhere, while a polite device gets in', () => {
    const limits = { ...UNLIMITED, maxConnections: 5, connectRate: 1, maxFailures: 3, maxTracked: 1_000 };
    const table = new AddressTable(limits, 1);
    for (let second = 0; second < 3_600; second++) {
      for (let i = 0; i < 100; i++) {
        const address = `10.${second % 256}.${i}.${(second * 31 + i) % 256}`;
        if (table.admit(address, second * 1_000) !== undefined) continue;
        table.failed(address, second * 1_000);
        table.closed(address);
      }
      if (second % 60 !== 0) continue;
      expect(table.admit('polite', second * 1_000)).toBeUndefined();
      table.closed('polite');
    }
    expect(table.size).toBe(1_000);
  });
});

describe('the limits per address of several workers', () => {
  /** Passes on what each has to tell. */
  function gossip(tables: AddressTable[], nowMs: number): number {
    let told = 0;
    for (const [from, table] of tables.entries()) {
      const changes = table.report(nowMs);
      told += changes.length;
      for (const [to, other] of tables.entries()) if (to !== from) other.learn(from, changes, nowMs);
    }
    return told;
  }

  test.each([1, 4])('hold for all of them together: %d', (workers) => {
    const limits = { ...UNLIMITED, maxConnections: 100 };
    const tables = Array.from({ length: workers }, () => new AddressTable(limits, workers));
    let open = 0;
    for (let i = 0; i < 400; i++) {
      if (tables[(i * 7) % workers]!.admit('a', i) === undefined) open++;
      if (i % 4 === 3) gossip(tables, i);
    }
    expect(open).toBeGreaterThanOrEqual(100);
    expect(open).toBeLessThanOrEqual(103);
  });

  test.each([1, 4])('hold the rate for all of them together: %d', (workers) => {
    const limits = { ...UNLIMITED, connectRate: 10, connectBurst: 10 };
    const tables = Array.from({ length: workers }, () => new AddressTable(limits, workers));
    let admitted = 0;
    for (let now = 0; now < 60_000; now += 10) {
      const table = tables[(now / 10) % workers]!;
      if (table.admit('a', now) === undefined) {
        admitted++;
        table.closed('a');
      }
      if (now % 50 === 0) gossip(tables, now);
    }
    expect(admitted).toBeGreaterThan(590);
    expect(admitted).toBeLessThan(625);
  });

  test('share a penalty, and forget a worker that is gone', () => {
    const limits = { ...UNLIMITED, maxConnections: 4, maxFailures: 2 };
    const [one, two] = [new AddressTable(limits, 2), new AddressTable(limits, 2)];
    for (let i = 0; i < 4; i++) {
      one.admit('bad', 0);
      one.failed('bad', 0);
      one.closed('bad');
      one.admit('full', 0);
    }
    gossip([one, two], 0);
    expect(two.admit('bad', 1)).toBe('address_penalty');
    expect(two.admit('full', 1)).toBe('address_connections');
    two.forget(0);
    expect(two.admit('full', 1)).toBeUndefined();
    // Its successor is told what the others hold.
    gossip([one, two], 2);
    const successor = new AddressTable(limits, 2);
    for (let i = 0; i < 3; i++) two.admit('full', 3);
    two.report(3);
    two.forget(0);
    successor.learn(1, two.report(4), 4);
    expect(successor.admit('full', 4)).toBe('address_connections');
  });

  test('are not spoken of while nobody comes near them', () => {
    const limits = {
      ...UNLIMITED,
      maxConnections: 100,
      connectRate: 100,
      connectBurst: 100,
      maxFailures: 10,
    };
    const table = new AddressTable(limits, 4);
    for (let i = 0; i < 50; i++) table.admit(`device ${i}`, i);
    expect(table.report(60)).toEqual([]);
  });

  test('never lose count, whatever comes in which order', () => {
    const step = fc.tuple(fc.nat(1), fc.constantFrom('admit', 'admit', 'close', 'gossip'), fc.nat(2));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const limits = { ...UNLIMITED, maxConnections: 6 };
        const tables = [new AddressTable(limits, 2), new AddressTable(limits, 2)];
        const open = [
          [0, 0, 0],
          [0, 0, 0],
        ];
        for (const [worker, what, address] of steps) {
          if (what === 'gossip') gossip(tables, 0);
          else if (what === 'admit') {
            if (tables[worker]!.admit(String(address), 0) === undefined) open[worker]![address]!++;
          } else if (open[worker]![address]! > 0) {
            open[worker]![address]!--;
            tables[worker]!.closed(String(address));
          }
          for (const address of [0, 1, 2]) expect(open[worker]![address]).toBeLessThanOrEqual(6);
        }
        for (const worker of [0, 1])
          for (const address of [0, 1, 2])
            for (; open[worker]![address]! > 0; open[worker]![address]!--)
              tables[worker]!.closed(String(address));
        gossip(tables, 0);
        gossip(tables, 0);
        for (let i = 0; i < 6; i++) expect(tables[0]!.admit('0', 1)).toBeUndefined();
        expect(tables[0]!.admit('0', 1)).toBe('address_connections');
      }),
    );
  });
});
