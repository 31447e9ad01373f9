export const CLOSE_REASONS = [
  'peer_closed',
  'peer_reset',
  'socket_error',
  'incomplete_frame',
  'frame_too_large',
  'idle_timeout',
  'first_frame_timeout',
  'handshake_timeout',
  'tls_error',
  'client_certificate',
  'max_age',
  'slow_consumer',
  'reply_gap',
  'shutdown',
] as const;

/** Why a connection ended, as metrics, logs and `connection.closed` name it. */
export type CloseReason = (typeof CLOSE_REASONS)[number];

/** An end with what explains it: the limit that was hit and the value that hit it, where there is one. */
export interface Ending {
  readonly reason: CloseReason;
  readonly detail?: string;
  readonly limit?: number;
  readonly value?: number;
}

/**
 * The life of an established connection.
 *
 *   open ── end ──► ending ── socket closed, last frame handed on ──► closed
 *
 * `ending` keeps the first reason it was given: what follows (a reset during the close, a timeout of it) is a
 * consequence and explains nothing.
 */
export type ConnectionState =
  | { readonly phase: 'open' }
  | { readonly phase: 'ending'; readonly ending: Ending }
  | { readonly phase: 'closed'; readonly ending: Ending };

export type ConnectionEvent =
  | { readonly type: 'end'; readonly ending: Ending }
  | { readonly type: 'finished' };

export const OPEN: ConnectionState = { phase: 'open' };

/** The state after an event; the same object when the event changes nothing. */
export function transition(state: ConnectionState, event: ConnectionEvent): ConnectionState {
  if (event.type === 'end' && state.phase === 'open') return { phase: 'ending', ending: event.ending };
  if (event.type === 'finished' && state.phase === 'ending') return { phase: 'closed', ending: state.ending };
  return state;
}
