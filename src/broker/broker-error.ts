/** What went wrong between a node and its broker. `retry` says whether trying again can help by itself. */
export class BrokerError extends Error {
  readonly code: BrokerErrorCode;
  readonly retry: boolean;

  constructor(code: BrokerErrorCode, message: string, options: { cause?: unknown; retry?: boolean } = {}) {
    super(message, { cause: options.cause });
    this.name = 'BrokerError';
    this.code = code;
    this.retry = options.retry ?? true;
  }
}

export type BrokerErrorCode =
  | 'connect_failed'
  | 'connection_lost'
  | 'channel_closed'
  | 'consumer_cancelled'
  | 'publish_refused'
  | 'publish_returned'
  | 'topology_mismatch';

export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
