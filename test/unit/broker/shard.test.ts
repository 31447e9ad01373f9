import { describe, expect, it } from 'vitest';
import { shardOf, shardQueues } from '../../../src/broker/shard.ts';
import { ConnectionIdFactory, randomNodeId } from '../../../src/registry/connection-id.ts';

describe('shardOf', () => {
  it('is the same in every version', () => {
    expect(shardOf('1f1e5675-47d3-6540-b4e8-8d6407e285c4', 8)).toBe(4);
  });

  it('spreads the connections of one node evenly', () => {
    const ids = new ConnectionIdFactory(randomNodeId());
    for (const shards of [2, 3, 8]) {
      const counts = new Array(shards).fill(0);
      for (let i = 0; i < 10_000; i++) counts[shardOf(ids.next(), shards)]++;
      for (const count of counts) expect(Math.abs(count / (10_000 / shards) - 1)).toBeLessThan(0.15);
    }
  });
});

describe('shardQueues', () => {
  it('is the queue itself when there is one', () => {
    expect(shardQueues('from_device', 1)).toEqual(['from_device']);
    expect(shardQueues('from_device', 3)).toEqual(['from_device.0', 'from_device.1', 'from_device.2']);
  });
});
