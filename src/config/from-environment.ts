import { CONFIG_KEYS, ENV_PREFIX } from './keys.ts';
import { unknownName } from './problem.ts';
import type { Reading, Setting } from './sources.ts';

/** Names with the prefix that are not keys of the schema. */
export const RESERVED_ENV_NAMES: readonly string[] = ['OWSLA_CONFIG'];

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Variables that Kubernetes sets in every pod for a Service whose name starts with `owsla`, one of which
 * (`OWSLA_ADMIN_PORT`, of a Service `owsla-admin`) has the name of a key.
 */
const SERVICE_LINK_NAME = /_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$/;
const SERVICE_LINK_VALUE = /^(tcp|udp|sctp):\/\//;
const SERVICE_LINK_ADVICE =
  'this looks like a Kubernetes service link: set enableServiceLinks: false in the pod spec';

/** The settings in the environment; every other variable that starts with `OWSLA_` is a problem. */
export function readEnvironment(env: Environment): Reading {
  const keyByName = new Map(CONFIG_KEYS.map((key) => [key.env, key]));
  const settings: Setting[] = [];
  const problems: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(ENV_PREFIX) || value === undefined || RESERVED_ENV_NAMES.includes(name)) continue;
    const key = keyByName.get(name);
    if (SERVICE_LINK_VALUE.test(value) || (key === undefined && SERVICE_LINK_NAME.test(name))) {
      problems.push(`${name} (environment): not a value for this gateway; ${SERVICE_LINK_ADVICE}`);
    } else if (key === undefined) {
      problems.push(unknownName(name, 'environment', [...keyByName.keys(), ...RESERVED_ENV_NAMES]));
    } else {
      settings.push({ key, value, source: 'env', origin: name });
    }
  }
  return { settings, problems };
}
