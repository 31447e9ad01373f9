import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  createAuthority,
  issueClientCertificate,
  issueServerCertificate,
  writeCertificates,
} from '../../../src/dev/certificates.ts';

describe('what the development authority issues', () => {
  test('a server certificate for the local names and more', async () => {
    const authority = await createAuthority();
    const server = await issueServerCertificate(authority, { names: ['gateway', '10.1.2.3'] });
    const certificate = new X509Certificate(server.cert);
    expect(certificate.verify(new X509Certificate(authority.cert).publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(server.key))).toBe(true);
    expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    for (const name of ['localhost', 'gateway']) expect(certificate.checkHost(name)).toBe(name);
    for (const ip of ['127.0.0.1', '::1', '10.1.2.3']) expect(certificate.checkIP(ip)).toBe(ip);
  });

  test('certificates with which both sides verify each other', async () => {
    const authority = await createAuthority();
    const server = await issueServerCertificate(authority);
    const client = await issueClientCertificate(authority, {
      commonName: 'device-1',
      uri: 'urn:device:1',
      dns: 'device-1.example',
    });
    const listener = createServer({ ...server, ca: authority.cert, requestCert: true });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const accepted = new Promise<TLSSocket>((resolve) => listener.once('secureConnection', resolve));
    const { port } = listener.address() as { port: number };
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: authority.cert,
      ...client,
    });
    socket.on('error', () => {});
    const peer = await accepted;
    const { subject, subjectaltname } = peer.getPeerCertificate();
    socket.destroy();
    peer.destroy();
    listener.close();
    expect(peer.authorized).toBe(true);
    expect(subject.CN).toBe('device-1');
    expect(subjectaltname).toBe('URI:urn:device:1, DNS:device-1.example');
  });

  test('a certificate that has expired, for tests of expiry', async () => {
    const notAfter = new Date(Date.now() - 60_000);
    const server = await issueServerCertificate(await createAuthority(), { notAfter });
    const seconds = Math.floor(notAfter.getTime() / 1000);
    expect(Date.parse(new X509Certificate(server.cert).validTo) / 1000).toBe(seconds);
  });
});

describe('the folder of certificates', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'owsla-certificates-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('is written once, with private keys for the owner only', async () => {
    const files = await writeCertificates(dir);
    const first = readFileSync(files.cert, 'utf8');
    expect(statSync(files.key).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'ca-key.pem')).mode & 0o777).toBe(0o600);
    await writeCertificates(dir);
    expect(readFileSync(files.cert, 'utf8')).toBe(first);
  });

  test('gets another server certificate from the same authority for another name', async () => {
    const files = await writeCertificates(dir);
    const authority = readFileSync(files.ca, 'utf8');
    await writeCertificates(dir, { names: ['gateway'] });
    expect(readFileSync(files.ca, 'utf8')).toBe(authority);
    expect(new X509Certificate(readFileSync(files.cert)).checkHost('gateway')).toBe('gateway');
  });

  test('gets another server certificate when the old one is about to expire or broken', async () => {
    const files = await writeCertificates(dir);
    const authority = {
      cert: readFileSync(files.ca, 'utf8'),
      key: readFileSync(join(dir, 'ca-key.pem'), 'utf8'),
    };
    const short = await issueServerCertificate(authority, { notAfter: new Date(Date.now() + 3_600_000) });
    writeFileSync(files.cert, short.cert);
    writeFileSync(files.key, short.key);
    await writeCertificates(dir);
    expect(Date.parse(new X509Certificate(readFileSync(files.cert)).validTo)).toBeGreaterThan(
      Date.now() + 86_400_000,
    );
    writeFileSync(files.key, 'not a key');
    await writeCertificates(dir);
    const certificate = new X509Certificate(readFileSync(files.cert));
    expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(files.key)))).toBe(true);
  });
});
