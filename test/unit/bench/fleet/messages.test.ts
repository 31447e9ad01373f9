import { expect, test } from 'vitest';
import { differenceOf, noCounters, sumCounters } from '../../../../bench/fleet/messages.ts';

test('counters of several processes add up, causes one by one', () => {
  const a = { ...noCounters(), open: 2, failed: { ECONNRESET: 1 } };
  const b = { ...noCounters(), open: 3, failed: { ECONNRESET: 2, client_timeout: 4 }, lost: { closed: 1 } };
  expect(sumCounters([a, b])).toEqual({
    ...noCounters(),
    open: 5,
    failed: { ECONNRESET: 3, client_timeout: 4 },
    lost: { closed: 1 },
  });
});

test('what has been counted since', () => {
  const then = { ...noCounters(), established: 2, failed: { ECONNRESET: 1 } };
  const now = { ...noCounters(), established: 5, failed: { ECONNRESET: 3, client_timeout: 1 } };
  expect(differenceOf(now, then)).toMatchObject({
    established: 3,
    failed: { ECONNRESET: 2, client_timeout: 1 },
  });
  expect(then.failed).toEqual({ ECONNRESET: 1 });
});
