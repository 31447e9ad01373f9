import { setTimeout as delay } from 'node:timers/promises';

const PAUSE_MS = 100;
const REQUEST_TIMEOUT_MS = 2_000;

/** Resolves to true once `url` answers with 200, to false when `signal` aborts before that. */
export async function becomesReady(url: string, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    if (await answersOk(url)) return true;
    await delay(PAUSE_MS, undefined, { signal }).catch(() => {}); // Aborted: the condition says so.
  }
  return false;
}

async function answersOk(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    return false;
  }
}
