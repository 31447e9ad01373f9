import type { TLSSocket } from 'node:tls';
import { type IdentityField, identityOf } from './identity.ts';

/** Who a device is by its certificate, as far as one is asked for; or what is wrong with that. */
export function identifyClient(
  socket: TLSSocket,
  clientAuth: 'none' | 'optional' | 'required',
  identity: IdentityField,
): { deviceId: string | undefined } | { problem: string } {
  if (clientAuth === 'none') return { deviceId: undefined };
  const certificate = socket.getPeerCertificate();
  if (certificate === null || Object.keys(certificate).length === 0) {
    return clientAuth === 'optional'
      ? { deviceId: undefined }
      : { problem: 'no client certificate was offered' };
  }
  if (!socket.authorized)
    return { problem: `client certificate refused: ${String(socket.authorizationError)}` };
  // OpenSSL looks at the dates in a full handshake only; a resumed session brings its old verdict along.
  if (Date.parse(certificate.valid_to) < Date.now()) return { problem: 'client certificate has expired' };
  const deviceId = identityOf(certificate, identity);
  return deviceId === undefined
    ? { problem: `client certificate has no ${identity} to take the device_id from (tls.identity)` }
    : { deviceId };
}
