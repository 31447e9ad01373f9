import type { ConfigKey } from './keys.ts';
import { maskSecret } from './mask.ts';
import { nearest } from './suggest.ts';

const MAX_SHOWN_CHARS = 120;

/** `listen.port = "x" (OWSLA_LISTEN_PORT): expected a port from 0 to 65535`, always one line. */
export function wrongValue(
  key: Pick<ConfigKey, 'path' | 'secret'>,
  value: unknown,
  origin: string,
  expected: string,
): string {
  return `${key.path} = ${shown(key, value)} (${origin}): expected ${expected}`;
}

/**
 * `listen.port (owsla.yaml:3): unknown key; did you mean listen.port?` The value is left out: whoever mistypes
 * `amqp.url` still gave a password.
 */
export function unknownName(name: string, origin: string, known: readonly string[]): string {
  const guess = nearest(name, known);
  const advice = guess === undefined ? '"owsla --help" lists every key' : `did you mean ${guess}?`;
  return `${safeName(name)} (${origin}): unknown key; ${advice}`;
}

/** A name as it was given, up to the first character that no key has: the rest may be a value run into the name. */
export function safeName(name: string): string {
  const start = /^[-\w.]{0,60}/.exec(name)![0];
  return start === name ? name : `${start}…`;
}

/** `ENOENT` for what the system refused; for anything else the first line of its message. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code?.startsWith('E') && !code.startsWith('ERR_')) return code;
  // OpenSSL: "error:0909006C:PEM routines::no start line"
  return message.split('\n', 1)[0]!.replace(/^error:[0-9A-F]+:(.*?)::/, '$1: ');
}

/** A value as one short line, masked when its key may hold a secret. */
function shown(key: Pick<ConfigKey, 'secret'>, value: unknown): string {
  const text = JSON.stringify(key.secret ? maskSecret(value) : value) ?? String(value);
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text;
}
