import { findOnPath } from './find-on-path.ts';

/** Full path of a browser that runs without a display, by the names that distributions give it. */
export function findChromium(): string | undefined {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    const found = findOnPath(name);
    if (found !== undefined) return found;
  }
  return undefined;
}
