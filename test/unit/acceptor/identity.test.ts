import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { identityOf } from '../../../src/acceptor/identity.ts';
import { createAuthority, issueClientCertificate } from '../../../src/dev/certificates.ts';

describe('the identity in a certificate', () => {
  test.each<[string | string[] | undefined, string | undefined]>([
    ['meter-1', 'meter-1'],
    [['meter-1', 'meter-2'], 'meter-1'],
    ['', undefined],
    [[], undefined],
    [undefined, undefined],
  ])('is the first common name: %j → %j', (commonName, identity) => {
    const subject = commonName === undefined ? {} : { CN: commonName };
    expect(identityOf({ subject }, 'cn')).toBe(identity);
  });

  test('is absent where the certificate has no subject and no other names', () => {
    for (const field of ['cn', 'uri', 'dns'] as const) expect(identityOf({}, field)).toBeUndefined();
  });

  test.each([
    ['URI:urn:dev:1, DNS:a.example, URI:urn:dev:2, DNS:b.example', 'urn:dev:1', 'a.example'],
    ['DNS:a.example', undefined, 'a.example'],
    ['IP Address:10.0.0.1, Registered ID:1.2.3, DNS:a.example', undefined, 'a.example'],
    ['email:x@a.example, URI:urn:dev:1', 'urn:dev:1', undefined],
    [
      'URI:"urn:dev:1\\u002c DNS:evil.example", DNS:good.example',
      'urn:dev:1, DNS:evil.example',
      'good.example',
    ],
    ['othername:"XmppAddr:a\\u002c DNS:evil.example", DNS:good.example', undefined, 'good.example'],
    ['DirName:"CN=x\\u002c DNS:evil.example"', undefined, undefined],
    ['URI:"a \\"quoted\\" \\\\ name", DNS:good.example', 'a "quoted" \\ name', 'good.example'],
    ['URI:, DNS:a.example', undefined, 'a.example'],
    ['', undefined, undefined],
  ])('is the first name of its kind in %j', (subjectaltname, uri, dns) => {
    expect(identityOf({ subjectaltname }, 'uri')).toBe(uri);
    expect(identityOf({ subjectaltname }, 'dns')).toBe(dns);
  });

  test.each([
    'urn:dev:ops:32473-1',
    'urn:dev:a,b',
    'urn:dev:1, DNS:evil.example',
    'urn:dev:"quoted"',
    'urn:dev:back\\slash',
    'urn:dev:1\nDNS:evil.example',
  ])('is read from what Node prints for the URI %j', async (uri) => {
    const { cert } = await issueClientCertificate(await authority, {
      commonName: 'meter-1',
      uri,
      dns: 'good.example',
    });
    const { subjectAltName } = new X509Certificate(cert);
    expect(identityOf({ subjectaltname: subjectAltName! }, 'uri')).toBe(uri);
    expect(identityOf({ subjectaltname: subjectAltName! }, 'dns')).toBe('good.example');
  });
});

const authority = createAuthority();
