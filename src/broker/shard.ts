/**
 * The shard of a connection: the same for its whole life, on any node and in any version, so that its frames stay in
 * order. FNV-1a over the id's text, which spreads ids of one node well though most of their digits are equal.
 */
export function shardOf(connectionId: string, shards: number): number {
  if (shards === 1) return 0;
  let hash = FNV_OFFSET;
  for (let i = 0; i < connectionId.length; i++) {
    hash = Math.imul(hash ^ connectionId.charCodeAt(i), FNV_PRIME);
  }
  // The low bits of FNV-1a mix worse than the high ones.
  return ((hash ^ (hash >>> 15)) >>> 0) % shards;
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** Queue names of all shards: the name itself when there is one. */
export function shardQueues(name: string, shards: number): string[] {
  return shards === 1 ? [name] : Array.from({ length: shards }, (_, shard) => `${name}.${shard}`);
}
