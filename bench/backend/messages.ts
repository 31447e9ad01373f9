import type { LedgerReport, SessionTally } from '../../src/dev/ledger.ts';

/** What passes between the harness and its backend process. */

export interface BackendSettings {
  readonly url: string;
  /** Queues with device lines, one or several shards. */
  readonly fromDevice: readonly string[];
  readonly toDevice: string;
  readonly undelivered: string;
  /** Where replies go: to the queue that the line names, to the shared one, or there are none. */
  readonly reply: 'inbox' | 'shared' | 'none';
  /** Replies are held until there are so many, and go in random order; 0 or 1: they are not. */
  readonly shuffle: number;
  /** Share of lines that get no reply. */
  readonly drop: number;
  readonly delayMs: number;
  /** Share of replies that are sent twice. */
  readonly duplicate: number;
}

export interface BackendCounters {
  /** Different lines. */
  taken: number;
  /** Replies that the broker has confirmed, copies not counted. */
  published: number;
  /** Copies sent on purpose, and lines left unanswered on purpose. */
  duplicated: number;
  dropped: number;
  undelivered: number;
  /** Times that the connection to the broker was lost. */
  reconnects: number;
}

export function noBackendCounters(): BackendCounters {
  return { taken: 0, published: 0, duplicated: 0, dropped: 0, undelivered: 0, reconnects: 0 };
}

export type ToBackend =
  | { readonly type: 'start'; readonly settings: BackendSettings }
  | { readonly type: 'report'; readonly tallies: readonly SessionTally[] };

export type FromBackend =
  | { readonly type: 'loaded' }
  /** It consumes. */
  | { readonly type: 'ready' }
  /** It never consumed, and gives up. */
  | { readonly type: 'failed'; readonly why: string }
  | { readonly type: 'counters'; readonly counters: BackendCounters }
  | { readonly type: 'report'; readonly report: LedgerReport };
