/** Query parameters of an AMQP URL that say nothing secret; any other hides the whole query. */
const HARMLESS_PARAMETERS = new Set(['heartbeat', 'frameMax', 'channelMax', 'locale']);

const MASK = '***';

/**
 * A URL fit for a log: `amqp://user:secret@host/vhost` → `amqp://user:***@host/vhost`.
 *
 * A text whose parts cannot be told apart with certainty is hidden whole, so that no piece of a password is shown:
 * an unescaped `/`, `?` or `#` in a password moves its tail into the path, and a missing `//` makes all of it path.
 * Never throws.
 */
export function maskUrl(text: string): string {
  const hidden = /^amqps?:\/\//.exec(text)?.[0].concat(MASK) ?? MASK;
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || !URL.canParse(text)) return hidden;
  const url = new URL(text);
  if (/@|%40/.test(url.pathname + url.search + url.hash)) return hidden;
  // An escaped colon in the user name is most likely an escaped "user:password".
  if (/%3a/i.test(url.username)) return hidden;
  if (url.password !== '') url.password = MASK;
  if ([...url.searchParams.keys()].some((name) => !HARMLESS_PARAMETERS.has(name))) url.search = MASK;
  if (url.hash !== '') url.hash = MASK;
  return url.href;
}

/** Any configuration value that may hold a secret, in the same shape with every text masked. */
export function maskSecret(value: unknown): unknown {
  if (typeof value === 'string') return maskUrl(value);
  if (Array.isArray(value)) return value.map(maskSecret);
  return value === undefined || value === null ? value : MASK;
}
