import { CONFIG_KEYS, KEY_BY_PATH } from './keys.ts';
import type { Config } from './schema.ts';
import type { Reading, Sources } from './sources.ts';

/**
 * One line when a configuration file holds nothing any more, though settings of the running configuration come from
 * it. It is more likely cut off while it was written than emptied to have the defaults everywhere. Pure.
 */
export function emptiedFile(
  name: string,
  { settings, problems }: Reading,
  running: Sources,
): string | undefined {
  if (settings.length > 0 || problems.length > 0) return undefined;
  const count = Object.values(running).filter((source) => source === 'file').length;
  if (count === 0) return undefined;
  const held = count === 1 ? '1 setting' : `${count} settings`;
  return `${name}: empty, while the running configuration has ${held} from it; write it again, or, to go back to the defaults, start the gateway again`;
}

/** The paths of the keys whose values differ, in the order of the schema. Pure. */
export function changedKeys(loaded: Config, running: Config): readonly string[] {
  return CONFIG_KEYS.map(({ path }) => path).filter((path) => {
    const [next, name] = placeOf(loaded, path);
    const [last] = placeOf(running, path);
    return JSON.stringify(next[name]) !== JSON.stringify(last[name]);
  });
}

/**
 * A configuration that was read again, with the values of the running one for all keys that only a new start of the
 * whole gateway applies, and the paths of those that would have changed. Pure.
 */
export function keepFixedKeys(
  loaded: Config,
  running: Config,
): { readonly config: Config; readonly ignored: readonly string[] } {
  const config = structuredClone(loaded);
  const ignored = changedKeys(loaded, running).filter((path) => !KEY_BY_PATH.get(path)!.reload);
  for (const path of ignored) {
    const [target, name] = placeOf(config, path);
    const [source] = placeOf(running, path);
    target[name] = source[name];
  }
  return { config, ignored };
}

/** The object that holds the value of a key, and the value's name in it. */
function placeOf(config: Config, path: string): [section: Record<string, unknown>, name: string] {
  const parts = path.split('.');
  const name = parts.pop()!;
  let section = config as unknown as Record<string, unknown>;
  for (const part of parts) section = section[part] as Record<string, unknown>;
  return [section, name];
}
