import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import {
  type ClientCertificateOptions,
  type IssuedCertificate,
  issueClientCertificate,
} from '../../src/dev/certificates.ts';

/** A certificate of a device and its key, issued by the authority of the test run. */
export async function clientCertificate(options: ClientCertificateOptions): Promise<IssuedCertificate> {
  const file = (name: string) => readFileSync(join(inject('certificatesDir'), name), 'utf8');
  return await issueClientCertificate({ cert: file('ca.pem'), key: file('ca-key.pem') }, options);
}

/** The environment of a gateway that asks for certificates of that authority. */
export function clientAuthEnvironment(
  clientAuth: 'optional' | 'required',
  identity: 'cn' | 'uri' | 'dns' = 'cn',
): Record<string, string> {
  return {
    OWSLA_TLS_CLIENT_AUTH: clientAuth,
    OWSLA_TLS_CLIENT_CA: join(inject('certificatesDir'), 'ca.pem'),
    OWSLA_TLS_IDENTITY: identity,
  };
}
