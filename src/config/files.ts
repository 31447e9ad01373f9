import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConfigError } from './config-error.ts';
import { KEY_BY_PATH } from './keys.ts';
import { reasonOf, wrongValue } from './problem.ts';
import type { Config } from './schema.ts';
import { originOf, type Sources } from './sources.ts';

/** Contents (PEM) of the files that the configuration names; a key without a path has none. */
export interface LoadedFiles {
  readonly tls: {
    readonly cert: string | undefined;
    readonly key: string | undefined;
    readonly clientCa: string | undefined;
    readonly ticketSecret: string | undefined;
  };
  readonly amqp: {
    readonly ca: string | undefined;
    readonly cert: string | undefined;
    readonly key: string | undefined;
  };
}

export interface CheckedFiles {
  readonly files: LoadedFiles;
  /** One line each: certificates that are expired, expire within 14 days, or are not valid yet. */
  readonly warnings: readonly string[];
}

export interface CheckOptions {
  /** Lets an error say where a path came from. */
  readonly sources?: Sources;
  /** The time that validity is judged by; default: now. */
  readonly now?: Date;
  /** Default: from disk, as UTF-8. */
  readonly readFile?: (path: string) => string;
}

/** A certificate that ends sooner than this is worth a warning. */
const EXPIRY_NOTICE_MS = 14 * 86_400_000;

const MIN_SECRET_CHARS = 32;

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * Reads every file that the configuration names and checks that certificates and keys parse, that each private key
 * belongs to the first certificate of its chain, and that OpenSSL accepts the pair. Throws `ConfigError` with one
 * line for each problem. An expired certificate is a warning: devices that don't check dates still connect.
 */
export function checkFiles(config: Config, options: CheckOptions = {}): CheckedFiles {
  const check = new FileCheck(options);
  const { tls, amqp } = config;
  const files: LoadedFiles = {
    tls: {
      ...check.pair('tls.cert', tls.cert, 'tls.key', tls.key),
      clientCa: check.certificates('tls.clientCa', tls.clientCa)?.pem,
      ticketSecret: check.secret('tls.ticketSecretFile', tls.ticketSecretFile),
    },
    amqp: {
      ca: check.certificates('amqp.ca', amqp.ca)?.pem,
      ...check.pair('amqp.cert', amqp.cert, 'amqp.key', amqp.key),
    },
  };
  if (check.problems.length > 0) throw new ConfigError(check.problems);
  return { files, warnings: check.warnings };
}

class FileCheck {
  readonly problems: string[] = [];
  readonly warnings: string[] = [];
  readonly #options: CheckOptions;
  readonly #now: number;

  constructor(options: CheckOptions) {
    this.#options = options;
    this.#now = (options.now ?? new Date()).getTime();
  }

  pair(certKey: string, certPath: string | undefined, keyKey: string, keyPath: string | undefined) {
    const chain = this.certificates(certKey, certPath);
    const key = this.#privateKey(keyKey, keyPath);
    if (chain !== undefined && key !== undefined) {
      const matches = this.#match(keyKey, keyPath!, certPath!, key.object, chain.certificates);
      if (matches) this.#acceptable(certKey, certPath!, chain.pem, key.pem);
    }
    return { cert: chain?.pem, key: key?.pem };
  }

  /** The text of the file without the white space around it. */
  secret(key: string, path: string | undefined): string | undefined {
    const text = this.#read(key, path)?.trim();
    if (text === undefined || text.length >= MIN_SECRET_CHARS) return text;
    return this.#wrong(
      key,
      path!,
      `a file with at least ${MIN_SECRET_CHARS} characters; it has ${text.length}`,
    );
  }

  /** `undefined` when no path is given, or when the file is unusable, which is noted. */
  certificates(key: string, path: string | undefined) {
    const pem = this.#read(key, path);
    if (pem === undefined) return undefined;
    const blocks = pem.match(CERTIFICATE_BLOCK) ?? [];
    if (blocks.length === 0) {
      return this.#wrong(key, path!, 'a PEM file with at least one certificate; it has none');
    }
    const certificates: X509Certificate[] = [];
    for (const [index, block] of blocks.entries()) {
      try {
        certificates.push(new X509Certificate(block));
      } catch (error) {
        const reason = `certificate ${index + 1} does not parse (${reasonOf(error)})`;
        return this.#wrong(key, path!, `a PEM file with certificates; ${reason}`);
      }
    }
    for (const [index, certificate] of certificates.entries()) this.#warn(key, path!, index, certificate);
    return { pem, certificates };
  }

  #privateKey(key: string, path: string | undefined) {
    const pem = this.#read(key, path);
    if (pem === undefined) return undefined;
    try {
      return { pem, object: createPrivateKey(pem) };
    } catch (error) {
      return this.#wrong(
        key,
        path!,
        `an unencrypted private key (PEM); it does not parse (${reasonOf(error)})`,
      );
    }
  }

  #match(
    key: string,
    path: string,
    certPath: string,
    object: KeyObject,
    certificates: readonly X509Certificate[],
  ) {
    const owner = certificates.findIndex((certificate) => certificate.checkPrivateKey(object));
    if (owner === 0) return true;
    const found =
      owner < 0 ? 'it belongs to none in that file' : `it belongs to number ${owner + 1}; put that one first`;
    const wanted = `the private key of the first certificate in ${JSON.stringify(certPath)}; ${found}`;
    this.#wrong(key, path, wanted);
    return false;
  }

  /** OpenSSL has rules of its own, such as a least key size. */
  #acceptable(key: string, path: string, cert: string, privateKey: string): void {
    try {
      createSecureContext({ cert, key: privateKey });
    } catch (error) {
      this.#wrong(key, path, `a certificate that OpenSSL accepts; it says: ${reasonOf(error)}`);
    }
  }

  #warn(key: string, path: string, index: number, certificate: X509Certificate): void {
    const leftMs = Date.parse(certificate.validTo) - this.#now;
    const subject = certificate.subject.replaceAll('\n', ', ');
    const which = `${key} = ${JSON.stringify(path)}: certificate ${index + 1} (${subject})`;
    const day = (date: string) => new Date(date).toISOString().slice(0, 10);
    if (leftMs <= 0) {
      this.warnings.push(`${which} expired on ${day(certificate.validTo)}`);
    } else if (leftMs < EXPIRY_NOTICE_MS) {
      const days = Math.floor(leftMs / 86_400_000);
      this.warnings.push(
        `${which} expires in ${days} day${days === 1 ? '' : 's'}, on ${day(certificate.validTo)}`,
      );
    }
    if (Date.parse(certificate.validFrom) > this.#now) {
      this.warnings.push(`${which} is not valid before ${day(certificate.validFrom)}`);
    }
  }

  #read(key: string, path: string | undefined): string | undefined {
    if (path === undefined) return undefined;
    try {
      return (this.#options.readFile ?? ((file) => readFileSync(file, 'utf8')))(path);
    } catch (error) {
      return this.#wrong(key, path, `the path of a readable file; it cannot be read (${reasonOf(error)})`);
    }
  }

  #wrong(path: string, value: string, expected: string): undefined {
    const key = KEY_BY_PATH.get(path)!;
    const source = this.#options.sources?.[path];
    const origin = source === undefined ? 'configuration' : originOf(key, source);
    this.problems.push(wrongValue(key, value, origin, expected));
  }
}
