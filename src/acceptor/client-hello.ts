/** Whether a TLS client asks for a full handshake or offers to resume a session. */
export type HandshakeKind = 'full' | 'resumed';
export const HANDSHAKE_KINDS = ['full', 'resumed'] as const;

/** More than any ClientHello needs, post-quantum key shares and tickets included. */
export const MAX_HELLO_BYTES = 16_384;

/** No client spreads it over so many; reading on would cost more with each. */
const MAX_HELLO_RECORDS = 64;

const RECORD_HEADER_BYTES = 5;
const MESSAGE_HEADER_BYTES = 4;
const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const SESSION_TICKET = 35;
const PRE_SHARED_KEY = 41;

/**
 * Looks at the first bytes of a connection, before anything is spent on TLS (RFC 8446, 4.1.2). Pure.
 *
 * @returns `undefined` until the ClientHello is complete. What is none, is broken, or comes in crumbs counts as
 * `full`: TLS itself says what is wrong with it.
 *
 * A session is offered by a ticket: `pre_shared_key` in TLS 1.3, a `session_ticket` that is not empty in TLS 1.2. A
 * session id alone says nothing: TLS 1.3 clients always send one, and the gateway keeps no sessions by id.
 */
export function kindOfHello(bytes: Buffer): HandshakeKind | undefined {
  if (bytes.length === 0) return undefined;
  const message = firstMessage(bytes);
  if (message === 'not TLS') return 'full';
  if (message === undefined) return bytes.length < MAX_HELLO_BYTES ? undefined : 'full';
  return offersSession(message) ? 'resumed' : 'full';
}

/** The first handshake message, which may be spread over several records; its header is left out. */
function firstMessage(bytes: Buffer): Buffer | 'not TLS' | undefined {
  let parts: Buffer[] = [];
  let have = 0;
  let need = 0;
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== HANDSHAKE_RECORD) return 'not TLS';
    if (at + RECORD_HEADER_BYTES > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at + 3);
    // An empty record is forbidden for handshakes; OpenSSL refuses it.
    if (length === 0 || parts.length === MAX_HELLO_RECORDS) return 'not TLS';
    const part = bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    parts.push(part);
    have += part.length;
    if (need === 0 && have >= MESSAGE_HEADER_BYTES) {
      const start = joined(parts);
      if (start[0] !== CLIENT_HELLO) return 'not TLS';
      need = MESSAGE_HEADER_BYTES + start.readUIntBE(1, 3);
      parts = [start];
    }
    if (need > 0 && have >= need) return joined(parts).subarray(MESSAGE_HEADER_BYTES, need);
    at += RECORD_HEADER_BYTES + length;
  }
  return undefined;
}

/** One record is what nearly all send; nothing is copied then. */
function joined(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

function offersSession(hello: Buffer): boolean {
  // version (2), random (32); then session id, cipher suites and compression methods, each with its length before it.
  let at = 34;
  at += 1 + (hello[at] ?? 0);
  if (at + 2 > hello.length) return false;
  at += 2 + hello.readUInt16BE(at);
  at += 1 + (hello[at] ?? 0);
  // The length of all extensions.
  at += 2;
  while (at + 4 <= hello.length) {
    const type = hello.readUInt16BE(at);
    const length = hello.readUInt16BE(at + 2);
    if (type === PRE_SHARED_KEY || (type === SESSION_TICKET && length > 0)) return true;
    at += 4 + length;
  }
  return false;
}
