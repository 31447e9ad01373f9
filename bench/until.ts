import { setTimeout as delay } from 'node:timers/promises';

const PAUSE_MS = 100;

/** Asks until the answer is yes: then true, or false when it was not within `timeoutMs`. */
export async function until(ask: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await ask())) {
    if (performance.now() > deadlineMs) return false;
    await delay(PAUSE_MS);
  }
  return true;
}
