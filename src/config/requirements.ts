import { ConfigError } from './config-error.ts';
import { KEY_BY_PATH } from './keys.ts';
import type { Sources } from './sources.ts';

/** Keys that a gateway does not start without, though each has a default or is optional. */
export const REQUIRED_KEYS: readonly string[] = ['amqp.url', 'tls.cert', 'tls.key'];

/** One line for each required key that was not given, naming its environment variable and its flag. */
export function missingKeys(sources: Sources): string[] {
  return REQUIRED_KEYS.filter((path) => sources[path] === 'default').map((path) => {
    const { env, flag, expects } = KEY_BY_PATH.get(path)!;
    return `${path} is missing: set ${env} or ${flag} (${expects})`;
  });
}

/** Throws `ConfigError` when a required key was not given, and says how a development set-up is had. */
export function requireForStart(sources: Sources): void {
  const missing = missingKeys(sources);
  if (missing.length === 0) return;
  throw new ConfigError([
    ...missing,
    'for a complete development set-up (broker, certificate, echo backend), run "npm start" in the repository',
  ]);
}
