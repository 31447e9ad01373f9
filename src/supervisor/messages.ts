import type { MetricObject } from 'prom-client';
import type { FromShare, ToShare } from '../acceptor/machine-share.ts';
import type { LoadedFiles } from '../config/files.ts';
import type { Config } from '../config/schema.ts';
import type { NodeId } from '../registry/connection-id.ts';

/** What the supervisor says to a worker. */
export type ToWorker =
  | {
      type: 'start';
      index: number;
      /** How many there are in all. */
      workers: number;
      config: Config;
      files: LoadedFiles;
      /** What the keys of TLS session tickets are derived from. */
      ticketSecret: string;
      adopted: NodeId[];
    }
  | { type: 'drain' }
  | { type: 'snapshot'; id: number }
  | ToShare;

/** What a worker says to the supervisor. */
export type FromWorker =
  /** Loaded, and waiting for `start`. */
  | { type: 'loaded' }
  /** The node that the worker is. */
  | { type: 'node'; id: NodeId }
  | { type: 'status'; ready: boolean; reason: string }
  | { type: 'snapshot'; id: number; metrics: MetricObject[] }
  /** Starting again would fail in the same way. */
  | { type: 'fatal'; message: string }
  | { type: 'drained'; unconfirmedFrames: number }
  | FromShare;
