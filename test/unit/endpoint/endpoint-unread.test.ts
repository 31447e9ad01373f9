import { describe, expect, test } from 'vitest';
import { connect, turn } from './fakes.ts';

const reset = () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });

/** An endpoint paused at its share with two more lines in the socket's buffer. */
async function paused() {
  const parts = await connect({ maxUnconfirmedFrames: 1 });
  parts.socket.arrive('a\nb\n');
  parts.socket.arrive('c\n');
  parts.socket.arrive('d\n');
  expect(parts.sink.lines).toEqual(['a']);
  return parts;
}

describe('bytes that Node has read and not handed out are published, each once, when a paused connection', () => {
  test('is destroyed by the gateway', async () => {
    const { sink, endpoint } = await paused();
    endpoint.end({ reason: 'slow_consumer' });
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
    expect(endpoint.bytesReceived).toBe(4);
  });

  test('does not close in time', async () => {
    const { host, sink, endpoint } = await paused();
    endpoint.end({ reason: 'shutdown' });
    host.pass(6_000);
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
  });

  test('is reset while it is being closed in good order', async () => {
    const { sink, socket, endpoint } = await paused();
    endpoint.end({ reason: 'shutdown' });
    socket.destroy(reset());
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
  });

  test('closes without an error', async () => {
    const { sink, socket } = await paused();
    socket.destroy();
    await turn();
    expect(sink.lines).toEqual(['a', 'b', 'c', 'd']);
  });
});

test('a device that closes right behind more lines than its share has closed in good order', async () => {
  const { host, sink, socket } = await connect({ maxUnconfirmedFrames: 1 });
  socket.pause();
  socket.arrive('a\nb\n');
  socket.arriveEnd();
  socket.resume();
  await turn();
  await turn();
  expect(sink.lines).toEqual(['a', 'b']);
  expect(host.closings).toMatchObject([{ reason: 'peer_closed' }]);
});

test('a first frame that waits for the window is not late', async () => {
  const { host, sink, socket } = await connect({ firstFrameTimeoutMs: 3_000 });
  sink.hasRoom = false;
  socket.arrive('a\n');
  host.pass(4_000);
  expect(host.unregistered).toEqual([]);
});

test('a device that was held back for longer than the idle timeout has it anew', async () => {
  const { host, sink, socket } = await connect({ idleTimeoutMs: 10_000 });
  sink.hasRoom = false;
  socket.arrive('a\n');
  host.pass(99_500);
  sink.giveRoom();
  await turn();
  host.pass(9_000);
  expect(host.unregistered).toEqual([]);
});
