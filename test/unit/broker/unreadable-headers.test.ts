import type { ChannelModel } from 'amqplib';
import { expect, test } from 'vitest';
import { type FrameReader, passUnreadableHeaders } from '../../../src/broker/unreadable-headers.ts';

/** Type, channel, size; then class, weight and body size of a content header. */
function frame(type: number, bodySize: number): Buffer {
  const bytes = Buffer.alloc(30);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt16BE(7, 1);
  bytes.writeUInt16BE(60, 7);
  bytes.writeBigUInt64BE(BigInt(bodySize), 11);
  return bytes;
}

/** A connection that takes the frame off, or not, and fails. */
function reader(rest: Buffer, error: Error, takesOff = true): FrameReader {
  const connection = {
    rest,
    recvFrame() {
      if (takesOff) connection.rest = Buffer.alloc(0);
      throw error;
    },
  };
  passUnreadableHeaders({ connection } as unknown as ChannelModel);
  return connection;
}

test('a content header that overflows the stack comes without properties, and says so', () => {
  expect(reader(frame(2, 2 ** 33 + 5), new RangeError('stack')).recvFrame()).toEqual({
    id: 60,
    channel: 7,
    size: 2 ** 33 + 5,
    fields: { headers: { headers_dropped: true } },
  });
});

test('any other failure is one of the connection', () => {
  const overflow = new RangeError('stack');
  expect(() => reader(frame(1, 0), overflow).recvFrame()).toThrow(overflow);
  expect(() => reader(frame(2, 0), overflow, false).recvFrame()).toThrow(overflow);
  const broken = new Error('Invalid frame');
  expect(() => reader(frame(2, 0), broken).recvFrame()).toThrow(broken);
});
