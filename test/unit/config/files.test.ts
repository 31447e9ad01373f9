import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConfigError } from '../../../src/config/config-error.ts';
import { checkFiles } from '../../../src/config/files.ts';
import { type Config, defaultConfig } from '../../../src/config/schema.ts';
import {
  createAuthority,
  type IssuedCertificate,
  issueClientCertificate,
  issueServerCertificate,
} from '../../../src/dev/certificates.ts';

const DAY_MS = 86_400_000;
let authority: IssuedCertificate;
let server: IssuedCertificate;
let client: IssuedCertificate;

beforeAll(async () => {
  authority = await createAuthority();
  server = await issueServerCertificate(authority);
  client = await issueClientCertificate(authority, { commonName: 'gateway' });
});

interface Paths {
  tls?: Partial<Config['tls']>;
  amqp?: Partial<Config['amqp']>;
}

/** Checks a configuration whose paths stand for the given contents. */
function check(contents: Record<string, string>, paths: Paths, now = new Date()) {
  const defaults = defaultConfig();
  const config = {
    ...defaults,
    tls: { ...defaults.tls, ...paths.tls },
    amqp: { ...defaults.amqp, ...paths.amqp },
  };
  const readFile = (path: string) => {
    if (contents[path] === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return contents[path];
  };
  return checkFiles(config, { readFile, now, sources: { 'tls.cert': 'env', 'tls.key': 'flag' } });
}

function problemsOf(contents: Record<string, string>, paths: Paths): readonly string[] {
  try {
    check(contents, paths);
    return [];
  } catch (error) {
    return (error as ConfigError).problems;
  }
}

const pair = { tls: { cert: 'cert.pem', key: 'key.pem' } };
const withPair = (cert: string, key: string) => problemsOf({ 'cert.pem': cert, 'key.pem': key }, pair);

describe('good files', () => {
  it('are returned as they are', () => {
    const contents = {
      c: server.cert,
      k: server.key,
      ca: authority.cert,
      bc: client.cert,
      bk: client.key,
      bca: authority.cert,
    };
    const paths = {
      tls: { cert: 'c', key: 'k', clientCa: 'ca' },
      amqp: { cert: 'bc', key: 'bk', ca: 'bca' },
    };
    expect(check(contents, paths)).toEqual({
      files: {
        tls: { cert: server.cert, key: server.key, clientCa: authority.cert },
        amqp: { cert: client.cert, key: client.key, ca: authority.cert },
      },
      warnings: [],
    });
  });

  it('may be none at all', () => {
    expect(check({}, {}).files.tls).toEqual({
      cert: undefined,
      key: undefined,
      clientCa: undefined,
      ticketSecret: undefined,
    });
  });

  it('may hold a chain, and text around the certificates', () => {
    expect(withPair(`subject: x\n${server.cert}\n# issuer\n${authority.cert}`, server.key)).toEqual([]);
  });
});

describe('a bad file', () => {
  it('that cannot be read is named with its key and where the path came from', () => {
    expect(problemsOf({}, pair)).toEqual([
      'tls.cert = "cert.pem" (OWSLA_TLS_CERT): expected the path of a readable file; it cannot be read (ENOENT)',
      'tls.key = "key.pem" (--tls.key): expected the path of a readable file; it cannot be read (ENOENT)',
    ]);
  });

  it('without a certificate is refused', () => {
    expect(withPair('', server.key)).toEqual([
      'tls.cert = "cert.pem" (OWSLA_TLS_CERT): expected a PEM file with at least one certificate; it has none',
    ]);
    expect(problemsOf({ ca: server.key }, { tls: { clientCa: 'ca' }, amqp: { ca: 'ca' } })).toEqual([
      expect.stringMatching(/^tls\.clientCa = "ca" .* expected a PEM file with at least one certificate/),
      expect.stringMatching(/^amqp\.ca = "ca" .* expected a PEM file with at least one certificate/),
    ]);
  });

  it('with a certificate that does not parse is refused, also in the middle of a chain', () => {
    const broken = server.cert.replace(/\n[A-Za-z0-9+/]{10}/, '\nAAAAAAAAAA');
    expect(withPair(server.cert + broken, server.key)).toEqual([
      expect.stringContaining('expected a PEM file with certificates; certificate 2 does not parse ('),
    ]);
  });

  it('with a key that does not parse is refused, without showing it', () => {
    const [problem, ...others] = withPair(server.cert, server.key.replace('PRIVATE', 'PRIVAT'));
    expect(others).toEqual([]);
    expect(problem).toMatch(
      /^tls\.key = "key\.pem" \(--tls\.key\): expected an unencrypted private key \(PEM\)/,
    );
    expect(problem).not.toContain(server.key.split('\n')[1]);
  });

  it('with an encrypted key is refused', () => {
    const { privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
    });
    expect(withPair(server.cert, privateKey)).toEqual([
      expect.stringContaining('expected an unencrypted private key'),
    ]);
  });

  it('with the key of another certificate is refused', () => {
    expect(withPair(server.cert, client.key)).toEqual([
      'tls.key = "key.pem" (--tls.key): expected the private key of the first certificate in "cert.pem"; it belongs to none in that file',
    ]);
    expect(problemsOf({ c: client.cert, k: server.key }, { amqp: { cert: 'c', key: 'k' } })).toEqual([
      expect.stringMatching(/^amqp\.key = "k"/),
    ]);
  });

  it('with the chain in the wrong order says which certificate is to come first', () => {
    expect(withPair(authority.cert + server.cert, server.key)).toEqual([
      expect.stringContaining('it belongs to number 2; put that one first'),
    ]);
  });

  it('with a key too weak for OpenSSL is refused', () => {
    const pem = execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:512', '-nodes', '-keyout', '-', '-subj', '/CN=x'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    expect(withPair(pem, pem)).toEqual([
      expect.stringMatching(/expected a certificate that OpenSSL accepts; it says: .*too small/),
    ]);
  });
});

describe('the validity of a certificate', () => {
  const warningsFor = async (notBeforeDays: number, notAfterDays: number) => {
    const now = new Date();
    const at = (days: number) => new Date(now.getTime() + days * DAY_MS);
    const period = { notBefore: at(notBeforeDays), notAfter: at(notAfterDays) };
    const { cert, key } = await issueServerCertificate(authority, period);
    const { warnings } = check({ 'cert.pem': cert, 'key.pem': key }, pair, now);
    return warnings;
  };
  const start = 'tls.cert = "cert.pem": certificate 1 (CN=localhost)';

  it('is a warning when it has expired', async () => {
    expect(await warningsFor(-30, -2)).toEqual([expect.stringContaining(`${start} expired on 2`)]);
  });

  it('is a warning when it ends within 14 days', async () => {
    expect(await warningsFor(-1, 13.5)).toEqual([
      expect.stringContaining(`${start} expires in 13 days, on 2`),
    ]);
    expect(await warningsFor(-1, 1.5)).toEqual([expect.stringContaining('expires in 1 day, on 2')]);
    expect(await warningsFor(-1, 14.5)).toEqual([]);
  });

  it('is a warning when it has not begun', async () => {
    expect(await warningsFor(1, 90)).toEqual([expect.stringContaining(`${start} is not valid before 2`)]);
  });
});
