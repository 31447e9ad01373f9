import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * A full collection of V8's heap; it stops the process for some ten milliseconds. V8 collects as it allocates, so a
 * process that has become idle keeps the garbage of its busiest hour, and what that garbage holds outside the heap.
 */
export function collectGarbage(): void {
  collect ??= exposed();
  collect();
}

let collect: (() => void) | undefined;

/** Node shows V8's function only with a flag; the flag is read when a context is made. */
function exposed(): () => void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return gc;
}
