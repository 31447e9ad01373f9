import type { FrameSink } from '../frame.ts';
import type { TimingWheel } from '../util/timing-wheel.ts';
import type { Endpoint } from './endpoint.ts';
import type { Ending } from './lifecycle.ts';
import type { ReadRate } from './read-rate.ts';
import type { LaneHost, LaneLimits } from './reply-lane.ts';
import type { Gap } from './resequencer.ts';

export interface EndpointLimits extends LaneLimits, ReadRate {
  readonly maxFrameBytes: number;
  readonly maxUnconfirmedFrames: number;
  readonly maxUnconfirmedBytes: number;
  /** 0: never. */
  readonly idleTimeoutMs: number;
  /** 0: never. */
  readonly firstFrameTimeoutMs: number;
  /** 0: none. */
  readonly maxAgeMs: number;
  /** Percent. */
  readonly maxAgeJitter: number;
}

/** What the endpoints of a node share, and whom they tell. */
export interface EndpointHost extends LaneHost {
  readonly limits: EndpointLimits;
  readonly sink: FrameSink;
  readonly deadlines: TimingWheel<Endpoint>;
  frameReceived(bytes: number): void;
  readsPaused(endpoint: Endpoint): void;
  readsResumed(endpoint: Endpoint): void;
  /** The device has sent faster than it may, for the first time. */
  rateExceeded(endpoint: Endpoint): void;
  gapSkipped(endpoint: Endpoint, gap: Gap, waitedMs: number): void;
  /** The connection takes no more replies. */
  ended(endpoint: Endpoint): void;
  /** The socket is gone; so many bytes that it had sent may still wait to be handed on. */
  socketGone(endpoint: Endpoint, bytes: number): void;
  /** The socket is gone, all frames that were read are handed on, and every reply is settled. */
  closed(endpoint: Endpoint, ending: Ending): void;
}

export interface SocketEnd {
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** Who is at the other end, as far as TCP, TLS and a load balancer told. */
export interface Peer extends SocketEnd {
  readonly deviceId: string | undefined;
  /** The remote end of the TCP connection, where it is a load balancer's. */
  readonly transport?: SocketEnd | undefined;
  /** A load balancer's own connection, by which it sees whether somebody is there. */
  readonly isHealthCheck?: boolean;
}
