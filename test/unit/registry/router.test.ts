import { describe, expect, test } from 'vitest';
import type { Delivery } from '../../../src/broker/delivery.ts';
import { parseReplyHeaders } from '../../../src/broker/envelope.ts';
import { ConnectionIdFactory } from '../../../src/registry/connection-id.ts';
import { LocalRegistry, type ReplyTarget } from '../../../src/registry/registry.ts';
import { Router } from '../../../src/registry/router.ts';
import type { Reply } from '../../../src/reply.ts';

const [SELF, OTHER] = ['010000000001', '010000000002'];
const mine = new ConnectionIdFactory(SELF).next();
const theirs = new ConnectionIdFactory(OTHER).next();

/** Routes a reply with these headers on a node that holds the connection `mine`, and tells where it went. */
function route(headers: Record<string, unknown>, connected = true) {
  const went: { delivered: Reply[]; forwardedTo: string[]; outcomes: [string, string][] } = {
    delivered: [],
    forwardedTo: [],
    outcomes: [],
  };
  const registry = new LocalRegistry<ReplyTarget>();
  const target = { connectionId: mine, deliver: (reply: Reply) => went.delivered.push(reply) };
  if (connected) registry.register(target);
  const delivery = {
    parsed: parseReplyHeaders(headers),
    settle: (outcome: string, detail: string) => went.outcomes.push([outcome, detail]),
  } as unknown as Delivery;
  const forwarding = { forward: (_: Delivery, owner: string) => went.forwardedTo.push(owner) };
  new Router(new Set([SELF]), registry, forwarding).route(delivery);
  return went;
}

describe('a reply', () => {
  test('for a connection of this node is given to it', () => {
    for (const connection_id of [mine, mine.toUpperCase()]) {
      const { delivered, forwardedTo, outcomes } = route({ connection_id });
      expect([delivered.length, forwardedTo, outcomes]).toEqual([1, [], []]);
    }
  });

  test('for a connection of another node is forwarded to its owner', () => {
    expect(route({ connection_id: theirs })).toEqual({ delivered: [], forwardedTo: [OTHER], outcomes: [] });
  });

  test('for a connection of this node that has ended is not_connected', () => {
    const { outcomes, forwardedTo } = route({ connection_id: mine }, false);
    expect(outcomes).toEqual([['not_connected', expect.any(String)]]);
    expect(forwardedTo).toEqual([]);
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['without a connection', {}, 'connection_id is absent'],
    ['for an id that no gateway made', { connection_id: 'meter-1' }, 'UUID version 6'],
    ['with a bad number', { connection_id: mine, to_device_seq: 'x' }, 'to_device_seq'],
  ])('%s has bad headers', (_, headers, detail) => {
    expect(route(headers).outcomes).toEqual([['bad_headers', expect.stringContaining(detail)]]);
  });
});
