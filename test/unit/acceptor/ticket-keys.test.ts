import { describe, expect, test } from 'vitest';
import { ticketKeysOf, utcDay } from '../../../src/acceptor/ticket-keys.ts';
import { TicketRotation } from '../../../src/acceptor/ticket-rotation.ts';

const SECRET = 'a secret of more than thirty-two characters';

describe('the keys of session tickets', () => {
  test('are 48 bytes that the secret and the day decide, on every machine alike', () => {
    const keys = ticketKeysOf(SECRET, '2026-11-21');
    expect(keys).toHaveLength(48);
    // Fixed: instances of different versions have to agree.
    expect(keys.toString('hex')).toBe(FIXED);
    expect(ticketKeysOf(SECRET, '2026-11-22')).not.toEqual(keys);
    expect(ticketKeysOf(`${SECRET}!`, '2026-11-21')).not.toEqual(keys);
  });

  test('change with the day in UTC, whichever way the clock is set', () => {
    let clock = Date.UTC(2026, 10, 21, 23, 59, 59, 999);
    const applied: Buffer[] = [];
    const rotation = new TicketRotation(
      SECRET,
      (keys) => applied.push(keys),
      () => clock,
    );
    expect(rotation.keys).toEqual(ticketKeysOf(SECRET, '2026-11-21'));
    rotation.check();
    expect(applied).toEqual([]);
    clock++;
    rotation.check();
    rotation.check();
    clock -= 86_400_000;
    rotation.check();
    expect(applied).toEqual(['2026-11-22', '2026-11-21'].map((day) => ticketKeysOf(SECRET, day)));
    rotation.stop();
  });

  test('go by the day in UTC', () => {
    expect(utcDay(Date.UTC(2026, 0, 1))).toBe('2026-01-01');
  });
});

const FIXED =
  '53ad378aa5aaad4cc5cb27e2629f758e02c2910f43e9b18d143a96be8683abd0ebc640036ba335fb87ca4b3bfb8230aa';
