import { describe, expect, test } from 'vitest';
import { detachHeaders, headerBytes } from '../../../src/broker/header-bytes.ts';
import { collectGarbage } from '../../../src/util/collect-garbage.ts';

describe('what headers take in memory', () => {
  test('is nothing extra for those of the contract, and none', () => {
    expect(headerBytes(undefined)).toBe(0);
    const contract = { connection_id: 'c'.repeat(36), to_device_seq: 7, expires_at: 1, receipt: true };
    expect(headerBytes({ ...contract, traceparent: 't'.repeat(55) })).toBe(0);
  });

  test('is their length for bytes, which keep nothing else once they are detached', () => {
    const chunk = Buffer.from(new ArrayBuffer(65_536));
    const headers = { bytes: chunk.subarray(10, 20), list: [{ more: chunk.subarray(0, 5_000) }] };
    const [before, text] = [headerBytes(headers), JSON.stringify(headers)];
    expect(before).toBeLessThan(6_000);
    detachHeaders(headers);
    expect(headerBytes(headers)).toBe(before);
    expect(JSON.stringify(headers)).toBe(text);
    const kept = [headers.bytes, headers.list[0]!.more].map(({ buffer }) => buffer);
    expect(kept).not.toContain(chunk.buffer);
  });

  test.each<[string, (n: number) => unknown]>([
    ['a long text', (n) => Buffer.alloc(100_000, 65 + n).toString()],
    [
      'a large table',
      (n) => Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`${n}-${i}`, null])),
    ],
    ['arrays in arrays', (n) => Array.from({ length: 1_000 }, (_, i) => [n, [i]])],
    ['a deep array', () => deep(50_000)],
  ])('is about right for %s', (_, make) => {
    const COUNT = 20;
    headerBytes({ warm: make(0) });
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    const all = Array.from({ length: COUNT }, (_, n) => ({ value: make(n) }));
    collectGarbage();
    const real = process.memoryUsage().heapUsed - before;
    const counted = all.reduce((sum, headers) => sum + headerBytes(headers), 0);
    expect(counted / real).toBeGreaterThan(0.5);
    expect(counted / real).toBeLessThan(5);
  });
});

function deep(levels: number): unknown[] {
  let array: unknown[] = [];
  for (let level = 0; level < levels; level++) array = [array];
  return array;
}
