import { createSecureContext } from 'node:tls';

/**
 * What a handshake should cost: the three that are cheap, the post-quantum hybrid first. Every TLS 1.3 client has one of
 * them (RFC 8446, 9.1). P-384 and what OpenSSL offers besides cost a server four times as much and more, and the client
 * would choose.
 */
const PREFERRED = ['X25519MLKEM768', 'X25519', 'P-256'];

/** Groups for the key exchange, separated by colons; those of `auto` that this Node has. */
export function tlsGroups(configured: string): string {
  return configured === 'auto' ? PREFERRED.filter(areTlsGroups).join(':') : configured;
}

/** OpenSSL knows all of them, by these names. */
export function areTlsGroups(groups: string): boolean {
  // OpenSSL 3.5 takes an empty list, and then has no group at all.
  if (groups === '') return false;
  try {
    createSecureContext({ ecdhCurve: groups });
    return true;
  } catch {
    return false;
  }
}
