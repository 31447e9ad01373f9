import { describe, expect, test } from 'vitest';
import { LocalRegistry, type ReplyTarget } from '../../../src/registry/registry.ts';

function target(connectionId: string): ReplyTarget {
  return { connectionId, deliver: () => {} };
}

describe('the registry of a node', () => {
  test('finds what is registered and not unregistered, in order of registration', () => {
    const registry = new LocalRegistry<ReplyTarget>();
    const [a, b, c] = [target('a'), target('b'), target('c')];
    for (const each of [b, a, c]) registry.register(each);
    expect(registry.find('a')).toBe(a);
    expect([...registry.targets()]).toEqual([b, a, c]);
    registry.unregister(a);
    registry.unregister(a);
    expect(registry.find('a')).toBeUndefined();
    expect(registry.size).toBe(2);
  });

  test('does not remove a later connection in the place of an earlier one', () => {
    const registry = new LocalRegistry<ReplyTarget>();
    const [earlier, later] = [target('a'), target('a')];
    registry.register(earlier);
    registry.register(later);
    registry.unregister(earlier);
    expect(registry.find('a')).toBe(later);
  });

  test('can be emptied while it is walked through', () => {
    const registry = new LocalRegistry<ReplyTarget>();
    for (let n = 0; n < 100; n++) registry.register(target(String(n)));
    for (const each of registry.targets()) registry.unregister(each);
    expect(registry.size).toBe(0);
  });
});
