import { createHash, hkdfSync } from 'node:crypto';

/** What Node takes: a name, an HMAC key and an AES key of 16 bytes each. */
const TICKET_KEY_BYTES = 48;
const SALT = 'owsla session tickets';

/** The day in UTC, as `2026-11-21`. */
export function utcDay(wallClockMs: number): string {
  return new Date(wallClockMs).toISOString().slice(0, 10);
}

/**
 * The keys that TLS session tickets are sealed with on a day: the same wherever the secret is the same, and of no use
 * for yesterday's tickets or tomorrow's (HKDF with SHA-256, RFC 5869). Pure.
 *
 * @param trusted the authorities that client certificates are verified against. A resumed session is not verified
 * again, so one that was begun under other authorities must not be resumed.
 */
export function ticketKeysOf(secret: string, day: string, trusted: string): Buffer {
  const purpose = `${day} ${createHash('sha256').update(trusted).digest('hex')}`;
  return Buffer.from(hkdfSync('sha256', secret, SALT, purpose, TICKET_KEY_BYTES));
}
