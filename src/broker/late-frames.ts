import type { ChannelModel } from 'amqplib';

interface Frame {
  readonly channel: number;
}

/** The part of amqplib's connection that hands frames to channels; amqplib has no public name for it. */
export interface FrameDispatch {
  accept(frame: Frame): void;
  /** By number: `null` where a channel was closed. */
  readonly channels: readonly (object | null)[];
  /** Forgets a channel that is closed. */
  releaseChannel(channel: number): void;
  /** The numbers that are taken. */
  readonly freeChannels: { set(channel: number): void; clear(channel: number): void };
}

/** For how long a closed channel's number is not given to another. */
const LATE_MS = 5_000;

/**
 * Lets a connection ignore what still comes for a channel that is closed. A broker that closes a channel may have
 * deliveries for it under way; amqplib would give the whole connection up for one, and all other channels with it,
 * whether nobody has that number or a new channel, which does not know the consumer.
 */
export function ignoreLateFrames(model: ChannelModel): void {
  const connection = model.connection as unknown as FrameDispatch;
  const { accept, releaseChannel } = connection;
  connection.accept = function acceptUnlessLate(this: FrameDispatch, frame) {
    if (this.channels[frame.channel] !== null) accept.call(this, frame);
  };
  connection.releaseChannel = function releaseLater(this: FrameDispatch, channel) {
    releaseChannel.call(this, channel);
    this.freeChannels.set(channel);
    setTimeout(() => this.freeChannels.clear(channel), LATE_MS).unref();
  };
}
