import { v4, v6, v7, validate, version } from 'uuid';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConnectionIdFactory, ownerOf, randomNodeId } from '../../../src/registry/connection-id.ts';

const NODE = '4b7d21c0a95e';
const NOW_MS = Date.UTC(2030, 0, 1);

function idsOf(factory: ConnectionIdFactory, count: number): string[] {
  return Array.from({ length: count }, () => factory.next());
}

/** The time in an id, in ms since the epoch. */
function timeOf(id: string): number {
  const ticks = BigInt(`0x${id.slice(0, 8)}${id.slice(9, 13)}${id.slice(15, 18)}`);
  const epochTicks = 0x01b21dd213814000n;
  return Number((ticks - epochTicks) / 10_000n);
}

/** Ids sort as text in order of time; those that rise differ. */
function expectRising(ids: readonly string[]): void {
  expect(ids.findIndex((id, index) => index > 0 && id <= ids[index - 1]!)).toBe(-1);
}

describe('connection ids', () => {
  test('are unique and in order of time while the clock stands still', () => {
    const ids = idsOf(new ConnectionIdFactory(NODE, () => NOW_MS), 200_000);
    expectRising(ids);
    expect(timeOf(ids[0]!)).toBe(NOW_MS);
    expect(timeOf(ids.at(-1)!)).toBe(NOW_MS + 19);
  });

  test('are unique and in order of time when the clock jumps back and forth', () => {
    let nowMs = NOW_MS;
    const factory = new ConnectionIdFactory(NODE, () => nowMs);
    const ids: string[] = [];
    for (const jumpMs of [0, -3_600_000, 1, 3_599_999, 0, -1, 86_400_000, -86_400_000, 5, 86_399_995]) {
      nowMs += jumpMs;
      ids.push(...idsOf(factory, 20_000));
    }
    expectRising(ids);
  });

  test('follow the clock again when it has caught up', () => {
    let nowMs = NOW_MS;
    const factory = new ConnectionIdFactory(NODE, () => nowMs);
    idsOf(factory, 25_000);
    nowMs += 1_000;
    expect(timeOf(factory.next())).toBe(nowMs);
  });

  test('are UUIDs of version 6 that carry their node', () => {
    for (const node of [NODE, '010000000000', 'ffffffffffff', randomNodeId()]) {
      for (const id of idsOf(new ConnectionIdFactory(node), 100)) {
        expect(validate(id) && version(id)).toBe(6);
        expect(id).toBe(id.toLowerCase());
        expect(ownerOf(id)).toBe(node);
      }
    }
  });

  test('of two nodes differ although time and clock sequence may be the same', () => {
    const now = () => NOW_MS;
    const [one, other] = [
      new ConnectionIdFactory(randomNodeId(), now),
      new ConnectionIdFactory(randomNodeId(), now),
    ];
    expect(new Set([...idsOf(one, 1_000), ...idsOf(other, 1_000)]).size).toBe(2_000);
  });
});

describe('without the factory', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  test('ids of one millisecond collide, for the package keeps no clock state beside a given node', () => {
    vi.useFakeTimers({ toFake: ['Date'], now: NOW_MS });
    const node = Buffer.from(NODE, 'hex');
    const ids = Array.from({ length: 2_000 }, () => v6({ node }));
    expect(new Set(ids).size).toBeLessThan(ids.length);
  });
});

describe('a node id', () => {
  test('is random, 48 bits in lower-case hex, with the multicast bit set', () => {
    const ids = Array.from({ length: 1_000 }, randomNodeId);
    expect(new Set(ids).size).toBe(1_000);
    for (const id of ids) {
      expect(id).toMatch(/^[0-9a-f]{12}$/);
      expect(Number.parseInt(id.slice(0, 2), 16) & 1).toBe(1);
    }
  });
});

test.each([
  '',
  'not an id',
  v4(),
  v7(),
  `1F0C6D2E-8B1A-6C40-9F3E-4B7D21C0A95E`,
  `1f0c6d2e-8b1a-6c40-9f3e-${NODE}0`,
  `x1f0c6d2e-8b1a-6c40-9f3e-${NODE}`,
  `1f0c6d2e-8b1a-6c40-9f3e-${NODE}\n`,
  `1f0c6d2e-8b1a-6c40-cf3e-${NODE}`,
  `1f0c6d2e8b1a6c409f3e${NODE}`,
])('%j has no owner', (text) => {
  expect(ownerOf(text)).toBeUndefined();
});
