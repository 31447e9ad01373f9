import type { MetricObject } from 'prom-client';
import type { FromShare, ToShare } from '../acceptor/machine-share.ts';
import type { LoadedFiles } from '../config/files.ts';
import type { Config } from '../config/schema.ts';
import type { NodeId } from '../registry/connection-id.ts';

export interface StartMessage {
  readonly type: 'start';
  readonly index: number;
  /** How many there are in all. */
  readonly workers: number;
  readonly config: Config;
  readonly files: LoadedFiles;
  /** What the keys of TLS session tickets are derived from. */
  readonly ticketSecret: string;
}

/** What the supervisor says to a worker. */
export type ToWorker =
  | StartMessage
  /** Empty the inbox of that node, which is gone. */
  | { type: 'adopt'; node: NodeId }
  | { type: 'drain' }
  | { type: 'snapshot'; id: number }
  | ToShare;

/** What a worker says to the supervisor. */
export type FromWorker =
  /** Loaded, and waiting for `start`. */
  | { type: 'loaded' }
  /** The node that the worker is. */
  | { type: 'node'; id: NodeId }
  /** When it changes, and at an interval (`statusIntervalMs`). */
  | { type: 'status'; ready: boolean; reason: string }
  | { type: 'snapshot'; id: number; metrics: MetricObject[] }
  /** Starting again would fail in the same way. */
  | { type: 'fatal'; message: string }
  /** Its last words, with what it has counted. */
  | { type: 'drained'; unconfirmedFrames: number; metrics: MetricObject[] }
  | FromShare;
