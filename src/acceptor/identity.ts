/** Which part of a client certificate names the device. */
export type IdentityField = 'cn' | 'uri' | 'dns';

/** The parts of `tls.PeerCertificate` that are looked at. */
export interface CertificateNames {
  readonly subject?: { readonly CN?: string | string[] };
  readonly subjectaltname?: string;
}

/** The identity, or `undefined` when the certificate does not have that field. */
export function identityOf(certificate: CertificateNames, field: IdentityField): string | undefined {
  if (field === 'cn') {
    const name = certificate.subject?.CN;
    return (Array.isArray(name) ? name[0] : name) || undefined;
  }
  return firstAltName(certificate.subjectaltname ?? '', field === 'uri' ? 'URI' : 'DNS') || undefined;
}

/**
 * Node prints alternative names as `URI:urn:dev:1, DNS:a.example`, and quotes a value as a JSON string where it
 * could be mistaken for several.
 */
function firstAltName(text: string, kind: string): string | undefined {
  for (const [, name, value] of text.matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g)) {
    if (name === kind) return value!.startsWith('"') ? (JSON.parse(value!) as string) : value;
  }
  return undefined;
}
