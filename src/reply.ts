export const UNDELIVERED_REASONS = [
  'not_connected',
  'expired',
  'stale_sequence',
  'reorder_overflow',
  'slow_consumer',
  'bad_headers',
  'bad_body',
  'connection_closed',
] as const;

/** Why a reply did not reach its device; the `reason` header of a message in the undelivered queue. */
export type UndeliveredReason = (typeof UNDELIVERED_REASONS)[number];

/** What became of a reply. A duplicate is one whose number the device has already had. */
export type ReplyOutcome = 'delivered' | 'duplicate' | UndeliveredReason;

/**
 * One reply to a device, as the endpoint sees it. Whoever holds it must settle it exactly once; until then the
 * broker keeps the message.
 */
export interface Reply {
  readonly body: Buffer;
  /** Of the body. */
  readonly byteLength: number;
  /** What it takes in memory while it waits: its body, and its headers as far as they are large. */
  readonly heldBytes: number;
  /** Place in the order of this connection's replies; absent: deliver at once. */
  readonly toDeviceSeq: number | undefined;
  /** Wall-clock time in ms after which the reply must not be delivered. */
  readonly expiresAtMs: number | undefined;
  /** Copies the body out of the network buffer it is a view of, once; called when the reply has to wait. */
  detach(): void;
  /** @param detail for a person who reads the undelivered message: what was wrong, and what was expected */
  settle(outcome: ReplyOutcome, detail?: string): void;
}

/** About what a reply takes in memory beside its body: the message, its headers, its place in the queues of a device. */
export const REPLY_OVERHEAD_BYTES = 1_536;
