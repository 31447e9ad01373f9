import { describe, expect, test } from 'vitest';
import { ticketKeysOf, utcDay } from '../../../src/acceptor/ticket-keys.ts';
import { TicketRotation } from '../../../src/acceptor/ticket-rotation.ts';

const CA = 'authorities';
const SECRET = 'a secret of more than thirty-two characters';

describe('the keys of session tickets', () => {
  test('are 48 bytes that the secret and the day decide, on every machine alike', () => {
    const keys = ticketKeysOf(SECRET, '2026-11-21', CA);
    expect(keys).toHaveLength(48);
    // Fixed: instances of different versions have to agree.
    expect(keys.toString('hex')).toBe(FIXED);
    expect(ticketKeysOf(SECRET, '2026-11-22', CA)).not.toEqual(keys);
    // Who was let in by one authority is not let in unseen under another.
    expect(ticketKeysOf(SECRET, '2026-11-21', 'others')).not.toEqual(keys);
    expect(ticketKeysOf(`${SECRET}!`, '2026-11-21', CA)).not.toEqual(keys);
  });

  test('change with the day in UTC, whichever way the clock is set', () => {
    let clock = Date.UTC(2026, 10, 21, 23, 59, 59, 999);
    const applied: Buffer[] = [];
    const rotation = new TicketRotation(
      SECRET,
      CA,
      (keys) => applied.push(keys),
      () => clock,
    );
    expect(rotation.keys).toEqual(ticketKeysOf(SECRET, '2026-11-21', CA));
    rotation.check();
    expect(applied).toEqual([]);
    clock++;
    rotation.check();
    rotation.check();
    clock -= 86_400_000;
    rotation.check();
    expect(applied).toEqual(['2026-11-22', '2026-11-21'].map((day) => ticketKeysOf(SECRET, day, CA)));
    rotation.stop();
  });

  test('go by the day in UTC', () => {
    expect(utcDay(Date.UTC(2026, 0, 1))).toBe('2026-01-01');
  });
});

const FIXED =
  '3b7ff0c2120d75161ba9a0da45d6a17a0a327343ef281875683ff404c129d1472c1111958eb8263c50d03b1d662cd120';
