import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { connect, FakeReply, TICK_MS, turn } from './fakes.ts';

const DAY_MS = 86_400_000;
const LIMIT_MS = 20_000;

beforeEach(() => vi.useFakeTimers({ toFake: ['Date'] }));
afterEach(() => vi.useRealTimers());

const jumps = [
  ['ahead', DAY_MS],
  ['back', -DAY_MS],
] as const;

test.each(jumps)('a wall clock that jumps %s moves no deadline of a connection', async (_, jumpMs) => {
  const jump = () => vi.setSystemTime(Date.now() + jumpMs);
  const silent = await connect({ idleTimeoutMs: LIMIT_MS });
  const mute = await connect({ firstFrameTimeoutMs: LIMIT_MS });
  const slow = await connect({ writeTimeoutMs: LIMIT_MS });
  slow.socket.takesWrites = false;
  slow.endpoint.deliver(new FakeReply('not taken'));
  const waiting = await connect({ gapTimeoutMs: LIMIT_MS });
  const early = new FakeReply('early', 1);
  waiting.endpoint.deliver(early);
  await turn();

  const hosts = [silent, mute, slow, waiting].map(({ host }) => host);
  for (const host of hosts) host.pass(LIMIT_MS / 2);
  jump();
  for (const host of hosts) host.pass(LIMIT_MS / 2 - 2 * TICK_MS);
  await turn();
  expect(hosts.map(({ unregistered, gaps }) => [unregistered.length, gaps.length])).toEqual(
    hosts.map(() => [0, 0]),
  );

  for (const host of hosts) host.pass(4 * TICK_MS);
  await turn();
  expect([silent, mute, slow].map(({ host }) => host.unregistered.length)).toEqual([1, 1, 1]);
  expect(waiting.host.gaps).toMatchObject([{ fromSeq: 0, toSeq: 0 }]);
  expect(early.outcomes).toEqual(['delivered']);
});

test('expires_at goes by the wall clock as it is now', async () => {
  const { endpoint } = await connect();
  const goodForAnHour = () => new FakeReply('for an hour', undefined, expiresAtMs);
  const expiresAtMs = Date.now() + 3_600_000;
  const replies = [];
  for (const jumpMs of [0, DAY_MS, -DAY_MS]) {
    vi.setSystemTime(Date.now() + jumpMs);
    const reply = goodForAnHour();
    replies.push(reply);
    endpoint.deliver(reply);
    await turn();
  }
  expect(replies.map(({ outcomes }) => outcomes)).toEqual([['delivered'], ['expired'], ['delivered']]);
});
