import { CONFIG_KEYS } from './keys.ts';
import type { Config } from './schema.ts';

/**
 * A configuration that was read again, with the values of the running one for all keys that only a new start of the
 * whole gateway applies, and the paths of those that would have changed. Pure.
 */
export function keepFixedKeys(
  loaded: Config,
  running: Config,
): { readonly config: Config; readonly ignored: readonly string[] } {
  const config = structuredClone(loaded);
  const ignored: string[] = [];
  for (const { path, reload } of CONFIG_KEYS) {
    if (reload) continue;
    const parts = path.split('.');
    const name = parts.pop()!;
    const [target, source] = [sectionOf(config, parts), sectionOf(running, parts)];
    if (JSON.stringify(target[name]) === JSON.stringify(source[name])) continue;
    target[name] = source[name];
    ignored.push(path);
  }
  return { config, ignored };
}

function sectionOf(config: Config, parts: readonly string[]): Record<string, unknown> {
  let section = config as unknown as Record<string, unknown>;
  for (const part of parts) section = section[part] as Record<string, unknown>;
  return section;
}
