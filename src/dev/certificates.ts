import 'reflect-metadata';
import { createPrivateKey, X509Certificate as InstalledCertificate, webcrypto } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** A development certificate authority and what it issues, as text in PEM. Not for production. */

cryptoProvider.set(webcrypto);

export interface IssuedCertificate {
  /** The certificate (PEM). */
  cert: string;
  /** Its private key (PKCS #8, PEM). */
  key: string;
}

export interface Validity {
  /** Default: an hour ago, for clocks that disagree. */
  notBefore?: Date;
  /** Default: ten years from now for an authority, 397 days for what it issues. */
  notAfter?: Date;
}

export interface AuthorityOptions extends Validity {
  /** Default: `Owsla development CA`. */
  commonName?: string;
}

/** Kinds of private keys: ECDSA on P-256, or RSA of so many bits. */
export const KEY_KINDS = ['p256', 'rsa2048', 'rsa3072', 'rsa4096'] as const;
export type KeyKind = (typeof KEY_KINDS)[number];

export interface ServerCertificateOptions extends Validity {
  /** Default: `p256`. The authority's own is of that kind. */
  key?: KeyKind;
  /** DNS names and IP addresses besides `localhost`, `127.0.0.1` and `::1`. */
  names?: readonly string[];
}

export interface ClientCertificateOptions extends Validity {
  commonName: string;
  /** URI subject alternative name. */
  uri?: string;
  /** DNS subject alternative name. */
  dns?: string;
}

export async function createAuthority(options: AuthorityOptions = {}): Promise<IssuedCertificate> {
  const keys = await generateKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [options.commonName ?? 'Owsla development CA'] }],
    keys,
    ...validity(options, AUTHORITY_DAYS),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: pem(certificate), key: await privateKeyPem(keys.privateKey) };
}

export async function issueServerCertificate(
  authority: IssuedCertificate,
  options: ServerCertificateOptions = {},
): Promise<IssuedCertificate> {
  const names = [...new Set([...LOCAL_NAMES, ...(options.names ?? [])])];
  const extensions = [
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension(
      names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
    ),
  ];
  return issue(authority, 'localhost', options, extensions, await generateKeys(options.key));
}

export async function issueClientCertificate(
  authority: IssuedCertificate,
  options: ClientCertificateOptions,
): Promise<IssuedCertificate> {
  const extensions: Extension[] = [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])];
  const names = [
    ...(options.uri === undefined ? [] : [{ type: 'url' as const, value: options.uri }]),
    ...(options.dns === undefined ? [] : [{ type: 'dns' as const, value: options.dns }]),
  ];
  if (names.length > 0) extensions.push(new SubjectAlternativeNameExtension(names));
  return issue(authority, options.commonName, options, extensions, await generateKeys());
}

/** Paths of what `writeCertificates` keeps in a folder. */
export interface CertificateFiles {
  /** Certificate of the authority, for clients. */
  ca: string;
  /** Certificate of the server. */
  cert: string;
  /** Private key of the server, readable by its owner only. */
  key: string;
}

/**
 * Keeps `ca.pem`, `ca-key.pem`, `server.pem` and `server-key.pem` in a folder, which it makes if needed. What is
 * there is left alone, unless it is unreadable, expires within a day, or the server's lacks one of the names.
 */
export async function writeCertificates(
  dir: string,
  options: Pick<ServerCertificateOptions, 'names' | 'key'> = {},
): Promise<CertificateFiles> {
  mkdirSync(dir, { recursive: true });
  const files = { ca: join(dir, 'ca.pem'), cert: join(dir, 'server.pem'), key: join(dir, 'server-key.pem') };
  const authorityKey = join(dir, 'ca-key.pem');

  let authority = readIssued(files.ca, authorityKey);
  if (authority === undefined) {
    authority = await createAuthority();
    replaceFile(authorityKey, authority.key, 0o600);
    replaceFile(files.ca, authority.cert, 0o644);
  }
  const server = readIssued(files.cert, files.key);
  if (server === undefined || !serves(server.cert, authority.cert, options.names ?? [])) {
    const issued = await issueServerCertificate(authority, options);
    replaceFile(files.key, issued.key, 0o600);
    replaceFile(files.cert, issued.cert, 0o644);
  }
  return files;
}

/** What an earlier run wrote, or `undefined` when it is not there, not whole, or expires within a day. */
function readIssued(certFile: string, keyFile: string): IssuedCertificate | undefined {
  try {
    const issued = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
    const certificate = new InstalledCertificate(issued.cert);
    const lasts = Date.parse(certificate.validTo) > Date.now() + DAY_MS;
    return lasts && certificate.checkPrivateKey(createPrivateKey(issued.key)) ? issued : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a server certificate comes from this authority and is for all of these names. */
function serves(cert: string, authorityCert: string, names: readonly string[]): boolean {
  const server = new InstalledCertificate(cert);
  if (!server.verify(new InstalledCertificate(authorityCert).publicKey)) return false;
  return names.every(
    (name) => (isIP(name) === 0 ? server.checkHost(name) : server.checkIP(name)) !== undefined,
  );
}

/** In one step, so that a reader never sees half a file. */
function replaceFile(path: string, text: string, mode: number): void {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text, { mode });
  renameSync(draft, path);
}

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const LOCAL_NAMES = ['localhost', '127.0.0.1', '::1'];
const AUTHORITY_DAYS = 3650;
const LEAF_DAYS = 397;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

async function issue(
  authority: IssuedCertificate,
  commonName: string,
  period: Validity,
  extensions: Extension[],
  keys: webcrypto.CryptoKeyPair,
): Promise<IssuedCertificate> {
  const issuer = new X509Certificate(authority.cert);
  const certificate = await X509CertificateGenerator.create({
    subject: [{ CN: [commonName] }],
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await importPrivateKey(authority.key),
    signingAlgorithm: KEY_ALGORITHM,
    ...validity(period, LEAF_DAYS),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ...extensions,
    ],
  });
  return { cert: pem(certificate), key: await privateKeyPem(keys.privateKey) };
}

function validity(period: Validity, days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return {
    notBefore: period.notBefore ?? new Date(now - HOUR_MS),
    notAfter: period.notAfter ?? new Date(now + days * DAY_MS),
  };
}

function generateKeys(kind: KeyKind = 'p256'): Promise<webcrypto.CryptoKeyPair> {
  if (kind === 'p256') return webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify']);
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: Number(kind.slice('rsa'.length)),
    publicExponent: new Uint8Array([1, 0, 1]),
  };
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

function importPrivateKey(key: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', PemConverter.decodeFirst(key), KEY_ALGORITHM, false, ['sign']);
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function pem(certificate: X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

/** `node dist/dev/certificates.js DIR [NAME…]`: the folder for a server that also answers to these names. */
async function main(args: readonly string[]): Promise<void> {
  const [dir, ...names] = args;
  if (dir === undefined) {
    process.stderr.write('usage: certificates DIR [NAME…]\n');
    process.exitCode = 64;
    return;
  }
  const files = await writeCertificates(dir, { names });
  process.stdout.write(`${files.ca}\n${files.cert}\n${files.key}\n`);
}

const script = process.argv[1];
if (script !== undefined && import.meta.url === pathToFileURL(realpathSync(script)).href) {
  await main(process.argv.slice(2));
}
