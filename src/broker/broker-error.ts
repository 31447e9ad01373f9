/** What went wrong between a node and its broker. All of it is tried again, after a backoff. */
export class BrokerError extends Error {
  readonly code: BrokerErrorCode;

  constructor(code: BrokerErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'BrokerError';
    this.code = code;
  }
}

export type BrokerErrorCode =
  | 'connect_failed'
  | 'heartbeat_timeout'
  | 'no_answer'
  | 'channel_closed'
  | 'topology_mismatch';

export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
