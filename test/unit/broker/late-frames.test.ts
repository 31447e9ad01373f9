import type { ChannelModel } from 'amqplib';
import { afterEach, expect, test, vi } from 'vitest';
import { type FrameDispatch, ignoreLateFrames } from '../../../src/broker/late-frames.ts';

afterEach(() => {
  vi.useRealTimers();
});

/** As amqplib does it. */
class FakeConnection implements FrameDispatch {
  readonly accepted: number[] = [];
  readonly channels: (object | null)[] = [{}];
  readonly taken = new Set<number>();
  readonly freeChannels = {
    set: (channel: number) => this.taken.add(channel),
    clear: (channel: number) => this.taken.delete(channel),
  };

  freshChannel(): number {
    let next = 1;
    while (this.taken.has(next)) next++;
    this.taken.add(next);
    this.channels[next] = {};
    return next;
  }

  releaseChannel(channel: number): void {
    this.taken.delete(channel);
    this.channels[channel] = null;
  }

  accept({ channel }: { channel: number }): void {
    this.accepted.push(channel);
  }
}

function connect(): FakeConnection {
  const connection = new FakeConnection();
  ignoreLateFrames({ connection } as unknown as ChannelModel);
  return connection;
}

test('what comes for a closed channel is ignored, for an open or an unknown one not', () => {
  const connection = connect();
  connection.freshChannel();
  connection.releaseChannel(connection.freshChannel());
  for (const channel of [0, 1, 2, 3]) connection.accept({ channel });
  expect(connection.accepted).toEqual([0, 1, 3]);
});

test('a number is not given to another channel as long as something may come for the one that had it', () => {
  vi.useFakeTimers();
  const connection = connect();
  connection.releaseChannel(connection.freshChannel());
  expect(connection.freshChannel()).toBe(2);
  connection.accept({ channel: 1 });
  expect(connection.accepted).toEqual([]);
  vi.advanceTimersByTime(5_000);
  expect(connection.freshChannel()).toBe(1);
});
