import { expect, test } from 'vitest';
import { Meter } from '../../../../bench/accounting/meter.ts';

test('CPU time of a process that is gone stays in the sum', () => {
  let pids = [process.pid];
  const meter = new Meter('owsla', () => pids);
  const before = meter.read();
  pids = [];
  const after = meter.read();
  expect(after.cpuMs).toBe(before.cpuMs);
  expect(after).toMatchObject({ rssBytes: 0, descriptors: 0 });
});
