/**
 * The three functions of the metadata proposal that @peculiar/x509's injection container calls when it is loaded.
 * To be imported before it.
 */
const metadata = new WeakMap<object, Map<unknown, unknown>>();

function own(target: object): Map<unknown, unknown> {
  let entries = metadata.get(target);
  if (entries === undefined) {
    entries = new Map();
    metadata.set(target, entries);
  }
  return entries;
}

const functions = {
  defineMetadata: (key: unknown, value: unknown, target: object) => void own(target).set(key, value),
  getOwnMetadata: (key: unknown, target: object) => metadata.get(target)?.get(key),
  getMetadata: (key: unknown, target: object) => {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      if (metadata.get(at)?.has(key)) return metadata.get(at)!.get(key);
    }
    return undefined;
  },
};

for (const [name, value] of Object.entries(functions)) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value, writable: true, configurable: true });
}

export {};
