import type { SecureVersion } from 'node:tls';
import type { SessionTally } from '../../src/dev/ledger.ts';
import type { EncodedBook } from './latency-book.ts';
import type { RetryPolicy } from './retry-policy.ts';

/** What passes between the harness and its load processes. */

/** One TLS version and one group for the key exchange. */
export interface TlsOffer {
  readonly version: SecureVersion;
  /** As OpenSSL names it: X25519, P-256, X25519MLKEM768, … */
  readonly group: string;
}

export interface FleetSettings {
  readonly host: string;
  readonly port: number;
  /** Path of the authority (PEM) that the target is verified against; absent: not verified, which is cheaper. */
  readonly ca: string | undefined;
  /** Paths of a client certificate (PEM). */
  readonly client: { readonly cert: string; readonly key: string } | undefined;
  /** Addresses to connect from; empty: the kernel's choice. */
  readonly sources: readonly string[];
  /** Share of connects that offer a session of an earlier one. */
  readonly resumeShare: number;
  readonly connectTimeoutMs: number;
  readonly retry: RetryPolicy;
  /** Sent once connected, base64; a peer may need it to keep the connection. */
  readonly hello: string | undefined;
  /** What devices offer, where it matters; otherwise Node's defaults. */
  readonly tls?: TlsOffer;
  /** Devices keep a ledger of the lines they send and the replies they get. */
  readonly speaks: boolean;
}

/** How devices connect: so many a second whatever happens (open loop), or so many at once (closed loop). */
export type ConnectPace = { readonly ratePerS: number } | { readonly concurrency: number };

export type Request =
  | {
      readonly type: 'connect';
      readonly count: number;
      readonly pace: ConnectPace;
      readonly startEpochMs: number;
    }
  | {
      readonly type: 'send';
      readonly ratePerS: number;
      readonly lineBytes: number;
      readonly startEpochMs: number;
    }
  /** Lines as the sockets take them, until so many have been sent since the start. */
  | { readonly type: 'flood'; readonly lineBytes: number; readonly upTo: number }
  | { readonly type: 'quiet' }
  | { readonly type: 'reconnect'; readonly retry: RetryPolicy }
  | { readonly type: 'phase'; readonly name: string }
  | { readonly type: 'phases' }
  | { readonly type: 'close'; readonly ratePerS: number }
  | { readonly type: 'tallies' };

export type ToLoad =
  | {
      readonly type: 'start';
      /** Which of how many processes. */
      readonly index: number;
      readonly processes: number;
      readonly settings: FleetSettings;
    }
  | { readonly type: 'request'; readonly id: number; readonly request: Request };

export type FromLoad =
  | { readonly type: 'loaded' }
  | { readonly type: 'interval'; readonly counters: Counters; readonly latencies: EncodedBook }
  | { readonly type: 'answer'; readonly id: number; readonly answer: unknown };

export type PhaseBooks = Readonly<Record<string, EncodedBook>>;
export type Tallies = readonly SessionTally[];

/** Sums since the start, but for `open`, `connecting` and `waiting`, which are now. */
export interface Counters {
  open: number;
  connecting: number;
  /** Wait before they try again. */
  waiting: number;
  /** Attempts begun. */
  attempts: number;
  /** Attempts that a schedule has planned so far, first ones only, and how many of those were begun. */
  connectsPlanned: number;
  connectsBegun: number;
  established: number;
  /** Of the established ones, with a session of an earlier connection. */
  resumed: number;
  gaveUp: number;
  /** Failed attempts, by cause. */
  failed: Record<string, number>;
  /** Established connections that ended otherwise than by us, by cause. */
  lost: Record<string, number>;
  /** Lines that a schedule has planned so far, also those that it has not got to. */
  linesPlanned: number;
  linesSent: number;
  /** Lines that were due while their device was not connected. */
  linesMissed: number;
  /** Different ones. */
  replies: number;
  /** Lines of open connections that wait for their reply. */
  unanswered: number;
}

export function noCounters(): Counters {
  return {
    open: 0,
    connecting: 0,
    waiting: 0,
    attempts: 0,
    connectsPlanned: 0,
    connectsBegun: 0,
    established: 0,
    resumed: 0,
    gaveUp: 0,
    failed: {},
    lost: {},
    linesPlanned: 0,
    linesSent: 0,
    linesMissed: 0,
    replies: 0,
    unanswered: 0,
  };
}

export function sumCounters(all: Iterable<Counters>): Counters {
  const sum = noCounters();
  for (const counters of all) {
    for (const [key, value] of Object.entries(counters) as [
      keyof Counters,
      number | Record<string, number>,
    ][]) {
      if (typeof value === 'number') (sum[key] as number) += value;
      else
        for (const [cause, n] of Object.entries(value)) count(sum[key] as Record<string, number>, cause, n);
    }
  }
  return sum;
}

/** What has been counted since; what is a number of now is meaningless then. */
export function differenceOf(now: Counters, then: Counters): Counters {
  const negative = sumCounters([then]);
  for (const [key, value] of Object.entries(negative) as [
    keyof Counters,
    number | Record<string, number>,
  ][]) {
    if (typeof value === 'number') (negative[key] as number) = -value;
    else for (const cause of Object.keys(value)) value[cause] = -value[cause]!;
  }
  return sumCounters([now, negative]);
}

export function count(causes: Record<string, number>, cause: string, by = 1): void {
  causes[cause] = (causes[cause] ?? 0) + by;
}

export function total(causes: Readonly<Record<string, number>>): number {
  return Object.values(causes).reduce((sum, n) => sum + n, 0);
}
