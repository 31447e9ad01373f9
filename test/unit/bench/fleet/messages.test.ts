import { expect, test } from 'vitest';
import { noCounters, sumCounters } from '../../../../bench/fleet/messages.ts';

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
