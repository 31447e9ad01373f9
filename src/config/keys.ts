import type { z } from 'zod';
import { configSchema, type KeyMeta } from './schema.ts';

/** One leaf of the configuration, with every name it goes by. */
export interface ConfigKey {
  /** Place in the YAML file: `amqp.queueType`. */
  readonly path: string;
  /** First part of the path, or `''` for a key at the top level. */
  readonly section: string;
  /** Environment variable: `OWSLA_AMQP_QUEUE_TYPE`. */
  readonly env: string;
  /** Command-line flag: `--amqp.queueType`. */
  readonly flag: string;
  readonly description: string;
  /** What a value may be, in words. */
  readonly expects: string;
  /** Default as the program sees it (milliseconds, bytes); `undefined` when the key is optional. */
  readonly default: unknown;
  /** A rolling restart (SIGHUP) applies a change. */
  readonly reload: boolean;
  /** May hold a password; never printed unmasked. */
  readonly secret: boolean;
  /** Validates and converts one value of this key. */
  readonly schema: z.ZodType;
}

export const ENV_PREFIX = 'OWSLA_';

/** `amqp.queueType` → `OWSLA_AMQP_QUEUE_TYPE`. */
export function envNameOf(path: string): string {
  const words = path.replace(/([a-z0-9])([A-Z])/g, '$1_$2').replaceAll('.', '_');
  return ENV_PREFIX + words.toUpperCase();
}

/**
 * The leaves of a schema in the order of their declaration. Throws an `Error` for a leaf without a description or
 * an expectation, and for two keys with one environment name: both are mistakes in the schema.
 */
export function listKeys(schema: z.ZodType): ConfigKey[] {
  const keys = walk(schema, []);
  const paths = new Map<string, string>();
  for (const { env, path } of keys) {
    if (paths.has(env))
      throw new Error(`keys ${paths.get(env)} and ${path} share the environment name ${env}`);
    paths.set(env, path);
  }
  return keys;
}

/** Every key of the configuration. */
export const CONFIG_KEYS: readonly ConfigKey[] = listKeys(configSchema);

/** Keys by path. */
export const KEY_BY_PATH: ReadonlyMap<string, ConfigKey> = new Map(CONFIG_KEYS.map((key) => [key.path, key]));

/** The keys of one section after another; the section of the top-level keys is `''`. */
export function bySection(keys: readonly ConfigKey[]): [section: string, keys: ConfigKey[]][] {
  const sections = new Map<string, ConfigKey[]>();
  for (const key of keys) {
    const list = sections.get(key.section);
    if (list === undefined) sections.set(key.section, [key]);
    else list.push(key);
  }
  return [...sections];
}

/** The part of a zod schema that the walk reads; `default`, `optional` and `prefault` wrap an inner type. */
interface Node extends z.ZodType {
  readonly def: z.ZodType['def'] & { readonly innerType?: Node; readonly defaultValue?: unknown };
  readonly shape?: Readonly<Record<string, z.ZodType>>;
}

function walk(schema: z.ZodType, path: readonly string[]): ConfigKey[] {
  const shape = shapeOf(schema as Node);
  if (shape === undefined) return [leaf(schema as Node, path)];
  return Object.entries(shape).flatMap(([name, child]) => walk(child, [...path, name]));
}

/** The members of an object, looking through its wrappers; `undefined` for a leaf. */
function shapeOf(node: Node): Node['shape'] {
  return node.shape ?? (node.def.innerType && shapeOf(node.def.innerType));
}

function leaf(schema: Node, parts: readonly string[]): ConfigKey {
  const path = parts.join('.');
  const meta = schema.meta() as Partial<KeyMeta> | undefined;
  if (!meta?.description || !meta.expects) {
    throw new Error(`key ${path} has no description or no expectation in its metadata`);
  }
  return {
    path,
    section: parts.length > 1 ? parts[0]! : '',
    env: envNameOf(path),
    flag: `--${path}`,
    description: meta.description,
    expects: meta.expects,
    default: schema.def.defaultValue,
    reload: !meta.fixed,
    secret: meta.secret ?? false,
    schema,
  };
}
