import type { ChannelModel } from 'amqplib';
import { HEADERS_DROPPED } from './envelope.ts';

/** The part of amqplib's connection that takes frames from the socket; amqplib has no public name for it. */
export interface FrameReader {
  /** What was read and is not decoded. */
  readonly rest: Buffer;
  /** The next frame, decoded; `false` when it is not complete. */
  recvFrame(): unknown;
}

/** Of AMQP 0-9-1, sections 2.3.5.2 and 1.8: the type of a content header frame, and its class. */
const CONTENT_HEADER = 2;
const BASIC_CLASS = 60;
const CHANNEL_AT = 1;
/** Behind type, channel and size of the frame, and class and weight of the content. */
const BODY_SIZE_AT = 11;

/**
 * Lets a connection survive a message whose headers cannot be decoded. Tables nested some thousands deep overflow the
 * stack of amqplib's decoder, which gives the connection up for it: each time, for as long as the message is in its
 * queue. Such a message comes without properties, and with the header that says so.
 */
export function passUnreadableHeaders(model: ChannelModel): void {
  const connection = model.connection as unknown as FrameReader;
  const recvFrame = connection.recvFrame;
  connection.recvFrame = function recvReadable(this: FrameReader) {
    const { rest } = this;
    try {
      return recvFrame.call(this);
    } catch (error) {
      // A frame that was cut off is behind us; at any other error the place of the next one is not known.
      const isBehind = this.rest !== rest;
      if (!(error instanceof RangeError) || !isBehind || rest[0] !== CONTENT_HEADER) throw error;
      return {
        id: BASIC_CLASS,
        channel: rest.readUInt16BE(CHANNEL_AT),
        size: Number(rest.readBigUInt64BE(BODY_SIZE_AT)),
        fields: { headers: { [HEADERS_DROPPED]: true } },
      };
    }
  };
}
