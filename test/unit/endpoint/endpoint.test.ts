import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CloseReason } from '../../../src/endpoint/lifecycle.ts';
import type { ReplyOutcome } from '../../../src/reply.ts';
import { connect, connectTo, FakeHost, FakeReply, TICK_MS, turn } from './fakes.ts';

const outcomesOf = (replies: readonly FakeReply[]) => replies.map(({ outcomes }) => outcomes);
const all = (count: number, outcome: ReplyOutcome) => Array.from({ length: count }, () => [outcome]);

describe('frames from the device', () => {
  test('are published with who sent them and their place, from 0', async () => {
    const { sink, socket, endpoint } = await connect();
    socket.arrive('one\r\ntw');
    socket.arrive('o\n\n');
    expect(sink.lines).toEqual(['one', 'two', '']);
    expect(sink.frames.map(({ fromDeviceSeq }) => fromDeviceSeq)).toEqual([0, 1, 2]);
    expect(sink.frames[0]).toMatchObject({ connectionId: 'some-connection', deviceId: 'meter-1' });
    expect(endpoint).toMatchObject({ framesReceived: 3, bytesReceived: 6 });
  });

  test('stay in the socket while the window is full, and follow in order when it has room', async () => {
    const { host, sink, socket } = await connect();
    socket.arrive('a\n');
    sink.hasRoom = false;
    socket.arrive('b\nc\n');
    socket.arrive('d\n');
    await turn();
    expect(sink.lines).toEqual(['a']);
    expect(socket.isPaused()).toBe(true);
    expect(socket.readableLength).toBe(2);
    expect(sink.waiting).toHaveLength(1);
    expect(host).toMatchObject({ pauses: 1, resumes: 0 });

    sink.giveRoom();
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
    expect(socket.isPaused()).toBe(false);
    expect(host).toMatchObject({ pauses: 1, resumes: 1 });
  });

  test('that fill the window in the middle of a chunk wait in line again', async () => {
    const { sink, socket } = await connect();
    sink.hasRoom = false;
    socket.arrive('a\nb\nc\n');
    const publish = sink.publish.bind(sink);
    sink.publish = (frame) => {
      publish(frame);
      sink.hasRoom = false;
    };
    for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
      expect(sink.waiting).toHaveLength(1);
      sink.giveRoom();
      expect(sink.lines).toEqual(expected);
    }
    expect(sink.waiting).toEqual([]);
    expect(socket.isPaused()).toBe(false);
  });

  test.each([
    ['frames', { maxUnconfirmedFrames: 4 }],
    ['bytes', { maxUnconfirmedBytes: 8 }],
  ])('pause at the share of their connection in %s, until half of it is confirmed', async (_, share) => {
    const { sink, socket } = await connect(share);
    for (const line of 'abcdef') socket.arrive(`${line}${line}\n`);
    await turn();
    expect(sink.lines).toEqual(['aa', 'bb', 'cc', 'dd']);
    expect(socket.isPaused()).toBe(true);
    expect(sink.waiting).toEqual([]);
    sink.confirm(1);
    await turn();
    expect(sink.lines).toHaveLength(4);
    sink.confirm(1);
    await turn();
    expect(sink.lines).toEqual(['aa', 'bb', 'cc', 'dd', 'ee', 'ff']);
  });

  test('of one connection at its share do not stop another', async () => {
    const host = new FakeHost({ maxUnconfirmedFrames: 1 });
    const [busy, other] = [await connectTo(host), await connectTo(host)];
    busy.socket.arrive('busy\nbusy\n');
    other.socket.arrive('other\n');
    expect(host.sink.lines).toEqual(['busy', 'other']);
  });

  test('that come faster than the rate wait in the socket, and their device is told of once', async () => {
    const { host, sink, socket, endpoint } = await connect({ maxFramesPerSecond: 4 });
    for (let line = 0; line < 9; line++) socket.arrive(`${line}\n`);
    await turn();
    expect(sink.lines).toEqual(['0', '1', '2', '3', '4']);
    expect(socket.isPaused()).toBe(true);
    host.pass(TICK_MS);
    await turn();
    expect(sink.lines).toHaveLength(6);
    expect(socket.isPaused()).toBe(true);
    host.pass(10 * TICK_MS);
    await turn();
    expect(sink.lines).toHaveLength(9);
    expect(socket.isPaused()).toBe(false);
    expect(host.tooFast).toEqual([endpoint]);
  });

  test('that come just before their rate allows do not wait for ever', async () => {
    for (let earlyUs = 0; earlyUs < 100; earlyUs++) {
      const { host, sink, socket } = await connect({ maxFramesPerSecond: 10 });
      socket.arrive('\n'.repeat(11));
      sink.confirm(11);
      host.pass(100 - earlyUs / 1_000);
      host.lookMs = 0.003;
      socket.arrive('late\n');
      host.lookMs = 0;
      host.pass(2 * TICK_MS);
      expect(sink.lines).toHaveLength(12);
    }
  });

  test('that wait for their rate stay waiting while there is no room, or no share', async () => {
    const { host, sink, socket } = await connect({ maxFramesPerSecond: 4, maxUnconfirmedFrames: 6 });
    for (let line = 0; line < 9; line++) socket.arrive(`${line}\n`);
    sink.hasRoom = false;
    host.pass(TICK_MS);
    await turn();
    expect(sink.lines).toHaveLength(5);
    sink.giveRoom();
    host.pass(10 * TICK_MS);
    await turn();
    expect(sink.lines).toHaveLength(5);
    sink.confirm(2);
    await turn();
    expect(sink.lines).toHaveLength(8);
    sink.confirm(3);
    await turn();
    expect(sink.lines).toHaveLength(9);
  });

  test('that wait for their rate are published when their connection ends', async () => {
    const { host, sink, socket, endpoint } = await connect({ maxBytesPerSecond: 2 });
    socket.arrive('abc\nd\ne\n');
    await turn();
    expect(sink.lines).toEqual(['abc']);
    endpoint.end({ reason: 'shutdown' });
    expect(sink.lines).toEqual(['abc', 'd', 'e']);
    socket.arriveEnd();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'shutdown', publishedBefore: 3 }]);
  });

  test('that wait for their rate are no silence', async () => {
    const { host, sink, socket, endpoint } = await connect({ maxBytesPerSecond: 1, idleTimeoutMs: 1_000 });
    socket.arrive(`${'a'.repeat(60)}\nb\n`);
    host.pass(50_000);
    expect(host.closings).toEqual([]);
    host.pass(9_500);
    await turn();
    expect(sink.lines).toHaveLength(2);
    expect(host.unregistered).toEqual([]);
    host.pass(1_500);
    await turn();
    expect(host.unregistered).toEqual([endpoint]);
  });

  test.each<[string, Error | undefined]>([
    ['resets the connection', Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })],
    ['fails', new Error('decryption failed')],
  ])('that were read are all published when the socket %s while paused', async (_, error) => {
    const { host, sink, socket } = await connect();
    sink.hasRoom = false;
    socket.arrive('a\nb\n');
    socket.arrive('c\n');
    socket.arrive('d\nincompl');
    socket.destroy(error);
    await turn();
    expect(host.closings).toEqual([]);
    sink.giveRoom();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
    expect(host.closings).toMatchObject([{ publishedBefore: 4 }]);
  });

  test('that were read are all published beyond the share of their connection when it ends', async () => {
    const { host, sink, socket } = await connect({ maxUnconfirmedFrames: 1 });
    socket.arrive('a\nb\nc\n');
    socket.arrive('d\n');
    expect(sink.lines).toEqual(['a']);
    socket.destroy(new Error('gone'));
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
    expect(host.closings).toMatchObject([{ reason: 'socket_error', publishedBefore: 4 }]);
  });

  test('that come after an orderly end are published until the device closes', async () => {
    const { host, sink, socket, endpoint } = await connect();
    endpoint.end({ reason: 'shutdown' });
    await turn();
    expect(socket.endCalled).toBe(true);
    socket.arrive('late\n');
    socket.arriveEnd();
    await turn();
    expect(sink.lines).toEqual(['late']);
    expect(host.closings).toMatchObject([{ reason: 'shutdown' }]);
  });

  test('end the connection when one is too large, after those before it', async () => {
    const { host, sink, socket } = await connect({ maxFrameBytes: 10 });
    socket.arrive(`fine\n${'x'.repeat(11)}\nnever\n`);
    socket.arrive('neither\n');
    await turn();
    expect(sink.lines).toEqual(['fine']);
    expect(host.closings).toMatchObject([{ reason: 'frame_too_large', limit: 10, value: 11 }]);
  });

  test('of length-prefixed framings are cut by their prefix', async () => {
    const { sink, socket } = await connect({ framing: 'u16' });
    socket.arrive(Buffer.from([0, 2, 0x61, 0x0a, 0]));
    socket.arrive(Buffer.from([1, 0x62]));
    expect(sink.lines).toEqual(['a\n', 'b']);
  });
});

describe('replies to the device', () => {
  test('of one turn leave in one write, and are delivered when the socket has taken them', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const replies = ['one', 'two', 'three'].map((text) => new FakeReply(text));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(socket.writes.map(String)).toEqual(['one\ntwo\nthree\n']);
    expect(outcomesOf(replies)).toEqual([[], [], []]);
    socket.takeWrite();
    expect(outcomesOf(replies)).toEqual(all(3, 'delivered'));
    expect(host.sent).toEqual({ frames: 3, bytes: 11 });
    expect(endpoint).toMatchObject({ framesSent: 3, bytesSent: 11 });
  });

  test('that come during a write are copied, and leave together as the next', async () => {
    const { socket, endpoint } = await connect();
    socket.takesWrites = false;
    endpoint.deliver(new FakeReply('first'));
    await turn();
    const replies = ['second', 'third'].map((text) => new FakeReply(text));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(replies.map(({ detached }) => detached)).toEqual([true, true]);
    expect(socket.writes).toHaveLength(1);
    socket.takeWrite();
    expect(socket.writes.map(String)).toEqual(['first\n', 'second\nthird\n']);
    expect(outcomesOf(replies)).toEqual([[], []]);
    socket.takeWrite();
    expect(outcomesOf(replies)).toEqual(all(2, 'delivered'));
  });

  test('leave in the order of their numbers, each once', async () => {
    const { host, socket, endpoint } = await connect();
    const replies = [2, 0, 3, 3, 0, 1].map((seq) => new FakeReply(`r${seq}`, seq));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(Buffer.concat(socket.writes).toString()).toBe('r0\nr1\nr2\nr3\n');
    expect(outcomesOf(replies).flat()).toEqual([
      'delivered',
      // The newer copy takes the place of one that is parked, or waits for the socket.
      'duplicate',
      'duplicate',
      'delivered',
      'delivered',
      'delivered',
    ]);
    expect(host.parked).toBe(0);
    expect(endpoint.lastToDeviceSeq).toBe(3);
  });

  test.each(['waits for', 'is being written to'])(
    'of which one %s the socket are settled with it when they come again, and not before',
    async (state) => {
      const { socket, endpoint } = await connect();
      socket.takesWrites = false;
      if (state === 'waits for') endpoint.deliver(new FakeReply('under way'));
      await turn();
      const [first, copy, other] = ['r0', 'r0', 'other'].map((body) => new FakeReply(body, 0));
      endpoint.deliver(first!);
      await turn();
      endpoint.deliver(copy!);
      endpoint.deliver(other!);
      expect(outcomesOf([first!, copy!, other!])).toEqual([['duplicate'], [], ['duplicate']]);
      expect(copy!.detached).toBe(true);
      socket.takesWrites = true;
      socket.takeWrite();
      await turn();
      expect(copy!.outcomes).toEqual(['delivered']);
      expect(Buffer.concat(socket.writes).toString()).toMatch(/^(under way\n)?r0\n$/);
      const late = new FakeReply('r0', 0);
      endpoint.deliver(late);
      expect(late.outcomes).toEqual(['duplicate']);
    },
  );

  test('that come again have the fate of a write that fails', async () => {
    const { socket, endpoint } = await connect();
    socket.takesWrites = false;
    const [first, copy] = [new FakeReply('r0', 0), new FakeReply('r0', 0)];
    endpoint.deliver(first);
    await turn();
    endpoint.deliver(copy);
    socket.destroy();
    await turn();
    expect(outcomesOf([first, copy])).toEqual([['duplicate'], ['connection_closed']]);
  });

  test('without a number pass those that wait for one', async () => {
    const { socket, endpoint } = await connect();
    endpoint.deliver(new FakeReply('late', 1));
    endpoint.deliver(new FakeReply('now'));
    await turn();
    expect(socket.writes.map(String)).toEqual(['now\n']);
  });

  test('that are parked are copied and counted', async () => {
    const { host, endpoint } = await connect();
    const parked = new FakeReply('early', 1);
    endpoint.deliver(parked);
    expect(parked.detached).toBe(true);
    expect(host.parked).toBe(1);
    endpoint.deliver(new FakeReply('first', 0));
    expect(host.parked).toBe(0);
  });

  test('that find no room to be parked are refused, and the rest goes on without them', async () => {
    const { socket, endpoint } = await connect({
      resequencer: { maxParked: 1, maxParkedBytes: 100, maxAhead: 10 },
    });
    const replies = [1, 2, 99, 0, 3].map((seq) => new FakeReply(`r${seq}`, seq));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(socket.writes.map(String)).toEqual(['r0\nr1\nr3\n']);
    expect(outcomesOf(replies)).toEqual([
      ['delivered'],
      ['reorder_overflow'],
      ['reorder_overflow'],
      ['delivered'],
      ['delivered'],
    ]);
  });

  test('that the framing cannot carry are refused and leave no gap', async () => {
    const { socket, endpoint } = await connect();
    const replies = [new FakeReply('two\nlines', 0), new FakeReply('one line', 1)];
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(outcomesOf(replies)).toEqual([['bad_body'], ['delivered']]);
    expect(socket.writes.map(String)).toEqual(['one line\n']);
  });

  test('for a connection that has ended are refused', async () => {
    const { socket, endpoint } = await connect();
    endpoint.end({ reason: 'shutdown' });
    const reply = new FakeReply('too late');
    endpoint.deliver(reply);
    await turn();
    expect(reply.outcomes).toEqual(['connection_closed']);
    expect(socket.writes).toEqual([]);
  });
});

describe('replies that expire', () => {
  const startMs = Date.UTC(2030, 0, 1);
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], now: startMs });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('are not delivered from that moment on', async () => {
    const { socket, endpoint } = await connect();
    const replies = [startMs - 1, startMs, startMs + 1].map((at) => new FakeReply('r', undefined, at));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(outcomesOf(replies)).toEqual([['expired'], ['expired'], ['delivered']]);
    expect(socket.writes.map(String)).toEqual(['r\n']);
  });

  test('while they wait for a slow device are not delivered, and hold nothing up', async () => {
    const { socket, endpoint } = await connect();
    socket.takesWrites = false;
    endpoint.deliver(new FakeReply('slow', 0));
    await turn();
    const replies = [1, 2, 3].map(
      (seq) => new FakeReply(`r${seq}`, seq, seq === 3 ? undefined : startMs + 1_000 * seq),
    );
    for (const reply of replies) endpoint.deliver(reply);
    // A copy that comes again expires with the place that it takes.
    const copy = new FakeReply('r1', 1, startMs + 1_000);
    endpoint.deliver(copy);
    vi.setSystemTime(startMs + 1_500);
    socket.takesWrites = true;
    socket.takeWrite();
    await turn();
    expect(socket.writes.map(String)).toEqual(['slow\n', 'r2\nr3\n']);
    expect(outcomesOf([...replies, copy])).toEqual([
      ['duplicate'],
      ['delivered'],
      ['delivered'],
      ['expired'],
    ]);
    // Delivered again, because its fate was not recorded in time.
    const again = ['r1', 'r2'].map((body, n) => new FakeReply(body, n + 1));
    for (const reply of again) endpoint.deliver(reply);
    expect(outcomesOf(again)).toEqual([['stale_sequence'], ['duplicate']]);
  });

  test('by the hundred do not make those between them stale that still wait for the socket', async () => {
    const { socket, endpoint } = await connect({ maxPending: 1_000 });
    socket.takesWrites = false;
    endpoint.deliver(new FakeReply('slow', 0));
    await turn();
    const seqs = Array.from({ length: 200 }, (_, n) => n + 1);
    for (const seq of seqs) endpoint.deliver(new FakeReply('r', seq, seq % 2 ? startMs + 1_000 : undefined));
    vi.setSystemTime(startMs + 1_500);
    // Nothing leaves but the first, and what has expired.
    socket.takeWrite();
    await turn();
    const again = seqs.map((seq) => new FakeReply('r', seq));
    for (const reply of again) endpoint.deliver(reply);
    expect(outcomesOf(again)).toEqual(seqs.map((seq) => (seq % 2 ? ['stale_sequence'] : [])));
    socket.takesWrites = true;
    socket.takeWrite();
    await turn();
    expect(again.filter(({ outcomes }) => outcomes.includes('delivered'))).toHaveLength(100);
  });

  test('while they are parked are not delivered when their turn comes, and hold nothing up', async () => {
    const { socket, endpoint } = await connect();
    const replies = [1, 2, 0].map((seq) => new FakeReply(`r${seq}`, seq, startMs + 1_000 * seq || undefined));
    for (const reply of replies.slice(0, 2)) endpoint.deliver(reply);
    vi.setSystemTime(startMs + 1_500);
    endpoint.deliver(new FakeReply('r0', 0));
    await turn();
    expect(socket.writes.map(String)).toEqual(['r0\nr2\n']);
    expect(outcomesOf(replies.slice(0, 2))).toEqual([['expired'], ['delivered']]);
  });
});

describe('a missing number', () => {
  const gapTimeoutMs = 20_000;

  test('is waited for, then skipped and reported; it is stale when it comes after all', async () => {
    const { host, socket, endpoint } = await connect({ gapTimeoutMs });
    host.pass(60_000);
    const replies = [2, 3, 6].map((seq) => new FakeReply(`r${seq}`, seq));
    for (const reply of replies) endpoint.deliver(reply);
    host.pass(gapTimeoutMs - TICK_MS);
    expect(host.gaps).toEqual([]);
    host.pass(2 * TICK_MS);
    await turn();
    expect(host.gaps).toEqual([{ fromSeq: 0, toSeq: 1, waitedMs: expect.any(Number) }]);
    expect(host.gaps[0]!.waitedMs).toBeGreaterThanOrEqual(gapTimeoutMs);
    expect(socket.writes.map(String)).toEqual(['r2\nr3\n']);

    const late = new FakeReply('r1', 1);
    endpoint.deliver(late);
    expect(late.outcomes).toEqual(['stale_sequence']);

    // The next missing number has a timeout of its own.
    host.pass(gapTimeoutMs - 2 * TICK_MS);
    expect(host.gaps).toHaveLength(1);
    host.pass(3 * TICK_MS);
    expect(host.gaps[1]).toMatchObject({ fromSeq: 4, toSeq: 5 });
    await turn();
    expect(outcomesOf(replies)).toEqual(all(3, 'delivered'));
    host.pass(2 * gapTimeoutMs);
    expect(host.gaps).toHaveLength(2);
  });

  test('that comes in time starts the wait anew for the next one', async () => {
    const { host, endpoint } = await connect({ gapTimeoutMs });
    for (const seq of [1, 3]) endpoint.deliver(new FakeReply('early', seq));
    host.pass(gapTimeoutMs - TICK_MS);
    endpoint.deliver(new FakeReply('first', 0));
    host.pass(gapTimeoutMs - TICK_MS);
    expect(host.gaps).toEqual([]);
    host.pass(2 * TICK_MS);
    expect(host.gaps).toMatchObject([{ fromSeq: 2, toSeq: 2 }]);
  });

  test('that comes in time, with nothing parked behind it, ends the wait', async () => {
    const { host, endpoint } = await connect({ gapTimeoutMs });
    endpoint.deliver(new FakeReply('second', 1));
    endpoint.deliver(new FakeReply('first', 0));
    host.pass(3 * gapTimeoutMs);
    expect(host.gaps).toEqual([]);
  });

  test('ends the connection where that is asked for', async () => {
    const { host, socket, endpoint } = await connect({ gapTimeoutMs, onGap: 'close' });
    const replies = [new FakeReply('first', 0), new FakeReply('third', 2)];
    for (const reply of replies) endpoint.deliver(reply);
    host.pass(gapTimeoutMs + TICK_MS);
    await turn();
    expect(socket.endCalled).toBe(true);
    socket.arriveEnd();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'reply_gap', limit: gapTimeoutMs }]);
    expect(host.closings[0]!.detail).toContain('to_device_seq 1');
    expect(outcomesOf(replies)).toEqual([['delivered'], ['connection_closed']]);
    expect(host).toMatchObject({ parked: 0, gaps: [] });
  });
});

describe('a device that does not take its replies is closed as slow_consumer', () => {
  test('when too many wait', async () => {
    const { host, socket, endpoint } = await connect({ maxPending: 3 });
    socket.takesWrites = false;
    const replies = Array.from({ length: 4 }, () => new FakeReply('r'));
    endpoint.deliver(replies[0]!);
    await turn();
    for (const reply of replies.slice(1)) endpoint.deliver(reply);
    await turn();
    expect(host.closings).toEqual([]);
    host.pass(1_000 + TICK_MS);
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'slow_consumer', limit: 3, value: 4 }]);
    expect(outcomesOf(replies)).toEqual(all(4, 'slow_consumer'));
  });

  test('when too many bytes wait', async () => {
    const { host, socket, endpoint } = await connect({ maxPendingBytes: 100 });
    socket.takesWrites = false;
    const replies = [60, 40, 1].map((bytes) => new FakeReply('r'.repeat(bytes)));
    for (const reply of replies.slice(0, 2)) endpoint.deliver(reply);
    await turn();
    expect(host.closings).toEqual([]);
    endpoint.deliver(replies[2]!);
    await turn();
    expect(host.closings).toEqual([]);
    host.pass(1_000 + TICK_MS);
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'slow_consumer', limit: 100, value: 101 }]);
    expect(outcomesOf(replies)).toEqual(all(3, 'slow_consumer'));
  });

  test('but not for a burst that it takes', async () => {
    const { host, socket, endpoint } = await connect({ maxPending: 3 });
    socket.takesWrites = false;
    const replies = Array.from({ length: 10 }, () => new FakeReply('r'));
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    host.pass(500);
    socket.takesWrites = true;
    socket.takeWrite();
    await turn();
    host.pass(60_000);
    expect(host.closings).toEqual([]);
    expect(outcomesOf(replies)).toEqual(all(10, 'delivered'));
  });

  test('but not for one reply that is larger than all that may wait', async () => {
    const { host, endpoint } = await connect({ maxPendingBytes: 100 });
    const reply = new FakeReply('r'.repeat(1_000));
    endpoint.deliver(reply);
    await turn();
    expect(host.closings).toEqual([]);
    expect(reply.outcomes).toEqual(['delivered']);
  });

  test('but a reply over the limit of one is not written, and gives its place up', async () => {
    const { host, socket, endpoint } = await connect({ maxReplyBytes: 5 });
    const replies = [new FakeReply('123456', 0), new FakeReply('12345', 1), new FakeReply('123456')];
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    expect(outcomesOf(replies)).toEqual([['bad_body'], ['delivered'], ['bad_body']]);
    expect(String(Buffer.concat(socket.writes))).toBe('12345\n');
    expect(host.closings).toEqual([]);
  });

  test('when a write takes too long', async () => {
    const writeTimeoutMs = 15_000;
    const { host, socket, endpoint } = await connect({ writeTimeoutMs });
    socket.takesWrites = false;
    const replies = [new FakeReply('a'), new FakeReply('b', 1)];
    for (const reply of replies) endpoint.deliver(reply);
    await turn();
    host.pass(writeTimeoutMs - TICK_MS);
    expect(host.unregistered).toEqual([]);
    host.pass(2 * TICK_MS);
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'slow_consumer', limit: writeTimeoutMs }]);
    expect(outcomesOf(replies)).toEqual(all(2, 'slow_consumer'));
  });

  test('but not while each write is taken in time', async () => {
    const { host, socket, endpoint } = await connect({ writeTimeoutMs: 15_000 });
    socket.takesWrites = false;
    for (let n = 0; n < 5; n++) {
      endpoint.deliver(new FakeReply('r'));
      await turn();
      host.pass(14_000);
      socket.takeWrite();
    }
    host.pass(60_000);
    expect(host.unregistered).toEqual([]);
  });

  test('by a gap that is skipped onto a full socket', async () => {
    const { host, socket, endpoint } = await connect({ maxPending: 2, writeTimeoutMs: 60_000 });
    socket.takesWrites = false;
    const replies = [1, 2, 3, 4].map((seq) => new FakeReply(`r${seq}`, seq));
    for (const reply of replies) endpoint.deliver(reply);
    host.pass(20_000 + TICK_MS);
    await turn();
    host.pass(1_000 + TICK_MS);
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'slow_consumer' }]);
    expect(outcomesOf(replies)).toEqual(all(4, 'slow_consumer'));
    expect(host.parked).toBe(0);
  });
});

describe('the end of a connection', () => {
  test('has the first reason it was given, and comes once', async () => {
    const { host, socket, endpoint } = await connect();
    endpoint.end({ reason: 'shutdown' });
    endpoint.end({ reason: 'idle_timeout' });
    socket.destroy(new Error('reset meanwhile'));
    await turn();
    endpoint.end({ reason: 'peer_closed' });
    await turn();
    expect(host.unregistered).toEqual([endpoint]);
    expect(host.closings).toMatchObject([{ reason: 'shutdown' }]);
  });

  test.each<[CloseReason, ReplyOutcome]>([
    ['slow_consumer', 'slow_consumer'],
    ['peer_reset', 'connection_closed'],
    ['frame_too_large', 'connection_closed'],
  ])('as %s gives every reply that was not taken one fate', async (reason, fate) => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const [writing, waiting] = [new FakeReply('writing'), new FakeReply('waiting')];
    const parked = [2, 5].map((seq) => new FakeReply('parked', seq));
    endpoint.deliver(writing);
    await turn();
    for (const reply of [waiting, ...parked]) endpoint.deliver(reply);
    endpoint.end({ reason });
    await turn();
    expect(outcomesOf([writing, waiting, ...parked])).toEqual(all(4, fate));
    expect(socket.writes.map(String)).toEqual(['writing\n']);
    expect(host.parked).toBe(0);
    host.pass(60_000);
    expect(host.closings).toMatchObject([{ reason }]);
  });

  test('does not take a write for delivered that is called back without error after a destroy', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const reply = new FakeReply('writing');
    endpoint.deliver(reply);
    await turn();
    endpoint.end({ reason: 'frame_too_large' });
    socket.takeWrite();
    await turn();
    expect(reply.outcomes).toEqual(['connection_closed']);
    expect(host.sent.frames).toBe(0);
  });

  test('does not settle again what is called back after the close', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const reply = new FakeReply('writing');
    endpoint.deliver(reply);
    await turn();
    socket.destroy();
    await turn();
    expect(host.closings).toHaveLength(1);
    socket.takeWrite();
    await turn();
    expect(reply.outcomes).toEqual(['connection_closed']);
  });

  test('by a write that fails settles the replies in it and behind it once', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const replies = [new FakeReply('writing'), new FakeReply('waiting')];
    endpoint.deliver(replies[0]!);
    await turn();
    endpoint.deliver(replies[1]!);
    socket.takeWrite(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'peer_reset', detail: 'write EPIPE' }]);
    expect(outcomesOf(replies)).toEqual(all(2, 'connection_closed'));
  });

  test('in good order writes what waits first, and parked replies are given up', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const replies = ['writing', 'waiting'].map((text) => new FakeReply(text));
    const parked = new FakeReply('parked', 1);
    endpoint.deliver(replies[0]!);
    await turn();
    endpoint.deliver(replies[1]!);
    endpoint.deliver(parked);
    endpoint.end({ reason: 'shutdown' });
    await turn();
    expect(socket.endCalled).toBe(false);
    socket.takeWrite();
    await turn();
    socket.takeWrite();
    await turn();
    expect(socket.writes.map(String)).toEqual(['writing\n', 'waiting\n']);
    expect(socket.endCalled).toBe(true);
    socket.arriveEnd();
    await turn();
    expect(outcomesOf([...replies, parked])).toEqual([['delivered'], ['delivered'], ['connection_closed']]);
    expect(host.closings).toMatchObject([{ reason: 'shutdown' }]);
  });

  test('in good order also writes replies of the same turn', async () => {
    const { socket, endpoint } = await connect();
    const reply = new FakeReply('just in time');
    endpoint.deliver(reply);
    endpoint.end({ reason: 'shutdown' });
    await turn();
    expect(reply.outcomes).toEqual(['delivered']);
    expect(socket.endCalled).toBe(true);
  });

  test.each<[string, boolean, CloseReason]>([
    ['ends its connection', false, 'frame_too_large'],
    ['hurries an end that is under way', true, 'shutdown'],
  ])('by a frame that the broker refuses: it %s', async (_, isEnding, reason) => {
    const ack = { enabled: true, template: 'ACK {seq}', every: 16, intervalMs: 200 };
    const { host, sink, socket, endpoint } = await connect({ ack, maxUnconfirmedFrames: 1 });
    socket.arrive('large\nsmall\n');
    if (isEnding) endpoint.end({ reason: 'shutdown' });
    const [large] = sink.frames;
    endpoint.frameRefused(large!, 4);
    await turn();
    expect(host.closings).toMatchObject([{ reason }]);
    expect(sink.lines).toEqual(['large', 'small']);
    expect(socket.destroyed).toBe(true);
  });

  test.each([0, 1])(
    'in good order waits until the device is told of its frames, %i of them confirmed before',
    async (before) => {
      const ack = { enabled: true, template: 'ACK {seq}', every: 16, intervalMs: 200 };
      const { host, sink, socket, endpoint } = await connect({ ack });
      socket.arrive('one\ntwo\n');
      sink.confirm(before);
      endpoint.end({ reason: 'shutdown' });
      await turn();
      expect(socket.endCalled).toBe(false);
      sink.confirm(2 - before);
      await turn();
      expect(Buffer.concat(socket.writes).toString()).toMatch(/^(ACK 0\n)?ACK 1\n$/);
      expect(socket.endCalled).toBe(true);
      socket.arriveEnd();
      await turn();
      expect(host.closings).toMatchObject([{ reason: 'shutdown' }]);
    },
  );

  test('in good order is forced when the device does not close in time', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const replies = ['writing', 'waiting'].map((text) => new FakeReply(text));
    endpoint.deliver(replies[0]!);
    await turn();
    endpoint.deliver(replies[1]!);
    endpoint.end({ reason: 'shutdown' });
    host.pass(5_000 - TICK_MS);
    await turn();
    expect(socket.destroyed).toBe(false);
    host.pass(2 * TICK_MS);
    await turn();
    expect(socket.destroyed).toBe(true);
    expect(host.closings).toMatchObject([{ reason: 'shutdown' }]);
    expect(outcomesOf(replies)).toEqual(all(2, 'connection_closed'));
  });

  test('by the device is a plain close, or an incomplete frame', async () => {
    const [plain, broken] = [await connect(), await connect()];
    plain.socket.arrive('whole\n');
    plain.socket.arriveEnd();
    broken.socket.arrive('whole\nhal');
    broken.socket.arriveEnd();
    await turn();
    expect(plain.host.closings).toMatchObject([{ reason: 'peer_closed' }]);
    expect(broken.host.closings).toMatchObject([{ reason: 'incomplete_frame', value: 3 }]);
    expect(broken.sink.lines).toEqual(['whole']);
  });

  test('by the device in the middle of a frame is named, also behind frames that wait for room', async () => {
    const { host, sink, socket } = await connect();
    sink.hasRoom = false;
    socket.arrive('whole\npar');
    socket.arriveEnd();
    await turn();
    sink.giveRoom();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'incomplete_frame', value: 3 }]);
  });

  test.each([
    ['has vanished', 'gone', true, ['peer_reset']],
    ['has closed its side, and may wait', 'half_closed', true, []],
    ['has closed its side, and has to make room', 'half_closed', false, ['peer_reset']],
    ['is there', 'alive', false, []],
  ] as const)('of a peer that %s while reads are paused', async (_, state, mayWait, reasons) => {
    const { host, sink, socket, endpoint } = await connect();
    sink.hasRoom = false;
    socket.arrive('a\n');
    endpoint.peerSeen(state, mayWait);
    await turn();
    expect(socket.destroyed).toBe(false);
    endpoint.peerSeen(state, mayWait);
    sink.giveRoom();
    await turn();
    expect(host.closings.map(({ reason }) => reason)).toEqual(reasons);
    expect(sink.lines).toEqual(['a']);
  });

  test('is not found by a look at the kernel long ago and one now, with reads between them', async () => {
    const { host, sink, socket, endpoint } = await connect();
    for (let look = 0; look < 2; look++) {
      sink.hasRoom = false;
      socket.arrive('a\n');
      endpoint.peerSeen('gone', true);
      sink.giveRoom();
      await turn();
    }
    expect(host.closings).toEqual([]);
    expect(socket.destroyed).toBe(false);
  });

  test('while frames wait for room can be told how many they are', async () => {
    const { sink, socket, endpoint } = await connect();
    sink.hasRoom = false;
    socket.arrive('a\nb\n');
    // Decrypted, and not handed out, because reads are paused.
    socket.arrive('c\nhalf');
    expect(endpoint.abandonFrames()).toBe(3);
  });

  test('by the device gives up replies that wait, but not the write under way', async () => {
    const { host, socket, endpoint } = await connect();
    socket.takesWrites = false;
    const replies = ['writing', 'waiting'].map((text) => new FakeReply(text));
    endpoint.deliver(replies[0]!);
    await turn();
    endpoint.deliver(replies[1]!);
    socket.arriveEnd();
    await turn();
    expect(outcomesOf(replies)).toEqual([[], ['connection_closed']]);
    socket.takeWrite();
    await turn();
    expect(outcomesOf(replies)).toEqual([['delivered'], ['connection_closed']]);
    expect(host.closings).toMatchObject([{ reason: 'peer_closed' }]);
  });

  test('without any sign but the close is one by the peer', async () => {
    const { host, socket } = await connect();
    socket.destroy();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'peer_closed' }]);
  });

  test('is complete only when the last frame was handed on', async () => {
    const { host, sink, socket } = await connect();
    sink.hasRoom = false;
    socket.arrive('a\nb\n');
    socket.destroy(new Error('gone'));
    await turn();
    expect(socket.closed).toBe(true);
    expect(host.closings).toEqual([]);
    sink.giveRoom();
    expect(host.closings).toMatchObject([{ publishedBefore: 2 }]);
    sink.confirm(2);
    host.pass(60_000);
    expect(host.closings).toHaveLength(1);
  });

  test('leaves no deadline behind', async () => {
    const { host, socket, endpoint } = await connect({ idleTimeoutMs: 1_000, firstFrameTimeoutMs: 500 });
    endpoint.deliver(new FakeReply('early', 1));
    socket.destroy();
    await turn();
    expect(endpoint.wheelSlot).toBe(-1);
    host.pass(60_000);
    expect(host.closings).toHaveLength(1);
    expect(host.gaps).toEqual([]);
  });
});

describe('the age of a connection', () => {
  test('ends it in good order, however busy it is', async () => {
    const maxAgeMs = 60_000;
    const { host, socket, endpoint } = await connect({ maxAgeMs });
    for (let ms = 0; ms < maxAgeMs - TICK_MS; ms += 10 * TICK_MS) {
      socket.arrive('line\n');
      host.pass(10 * TICK_MS);
    }
    host.pass(2 * TICK_MS);
    expect(host.unregistered).toEqual([endpoint]);
    // What the device has sent before it reads the close is taken.
    socket.arrive('last\n');
    socket.arriveEnd();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'max_age', limit: maxAgeMs }]);
    expect(endpoint.framesReceived).toBe(maxAgeMs / (10 * TICK_MS) + 1);
  });

  test('is another one for each', async () => {
    const limits = { maxAgeMs: 60_000, maxAgeJitter: 50 };
    const hosts = await Promise.all(Array.from({ length: 40 }, async () => (await connect(limits)).host));
    const ended = (afterMs: number) => {
      for (const host of hosts) host.pass(afterMs);
      return hosts.filter(({ unregistered }) => unregistered.length > 0).length;
    };
    expect(ended(30_000 - TICK_MS)).toBe(0);
    const half = ended(30_000);
    expect(half).toBeGreaterThan(5);
    expect(half).toBeLessThan(35);
    expect(ended(30_000 + 2 * TICK_MS)).toBe(40);
  });
});

describe('a silent device', () => {
  const idleTimeoutMs = 10_000;

  test('is closed after the idle timeout, counted from its last byte', async () => {
    const { host, socket } = await connect({ idleTimeoutMs });
    host.pass(idleTimeoutMs - TICK_MS);
    socket.arrive('half a li');
    host.pass(idleTimeoutMs - TICK_MS);
    expect(host.unregistered).toEqual([]);
    host.pass(2 * TICK_MS);
    socket.arriveEnd();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'idle_timeout', limit: idleTimeoutMs }]);
    expect(host.closings[0]!.value).toBeGreaterThanOrEqual(idleTimeoutMs);
  });

  test('is closed for its silence whatever it is sent', async () => {
    const { host, endpoint } = await connect({ idleTimeoutMs });
    for (let n = 0; n < 5; n++) {
      endpoint.deliver(new FakeReply('r'));
      await turn();
      host.pass(idleTimeoutMs / 4);
    }
    expect(host.unregistered).toEqual([endpoint]);
  });

  test('is not closed while the gateway itself does not read', async () => {
    const { host, sink, socket } = await connect({ idleTimeoutMs });
    sink.hasRoom = false;
    socket.arrive('a\n');
    host.pass(10 * idleTimeoutMs);
    expect(host.unregistered).toEqual([]);
    sink.giveRoom();
    socket.arrive('b\n');
    await turn();
    host.pass(idleTimeoutMs - TICK_MS);
    expect(host.unregistered).toEqual([]);
  });

  test('is not closed where there is no timeout', async () => {
    const { host } = await connect({ idleTimeoutMs: 0 });
    host.pass(10 * 86_400_000);
    expect(host.unregistered).toEqual([]);
  }, 30_000);

  test('is closed when it does not complete a first frame in time', async () => {
    const firstFrameTimeoutMs = 3_000;
    const { host, socket } = await connect({ idleTimeoutMs, firstFrameTimeoutMs });
    socket.arrive('a byte at a ti');
    host.pass(firstFrameTimeoutMs - TICK_MS);
    socket.arrive('me');
    expect(host.unregistered).toEqual([]);
    host.pass(2 * TICK_MS);
    socket.arriveEnd();
    await turn();
    expect(host.closings).toMatchObject([{ reason: 'first_frame_timeout', limit: firstFrameTimeoutMs }]);
  });

  test('has only the idle timeout once it has completed a frame', async () => {
    const { host, socket } = await connect({ idleTimeoutMs, firstFrameTimeoutMs: 3_000 });
    socket.arrive('\n');
    host.pass(idleTimeoutMs - TICK_MS);
    expect(host.unregistered).toEqual([]);
    host.pass(2 * TICK_MS);
    expect(host.unregistered).toHaveLength(1);
  });
});
