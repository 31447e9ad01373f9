import type { ChannelModel } from 'amqplib';
import { expect, test } from 'vitest';
import { type FrameDispatch, ignoreLateFrames } from '../../../src/broker/late-frames.ts';

test('what comes for a closed channel is ignored, for an open or an unknown one not', () => {
  const accepted: number[] = [];
  const connection: FrameDispatch = {
    channels: [{}, {}, null],
    accept: ({ channel }) => accepted.push(channel),
  };
  ignoreLateFrames({ connection } as unknown as ChannelModel);
  for (const channel of [0, 1, 2, 3]) connection.accept({ channel });
  expect(accepted).toEqual([0, 1, 3]);
});
