import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--enable-logging=stderr'],
];

export interface OpenedPage {
  /** The document after its scripts have run, as HTML. */
  readonly dom: string;
  /** What the page's console got: errors and warnings of scripts, and what the page's policy refused. */
  readonly console: string[];
}

/** Opens a page from disk in a headless Chromium. */
export async function openPage(chromium: string, file: string): Promise<OpenedPage> {
  const profile = mkdtempSync(join(tmpdir(), 'owsla-browser-test-'));
  try {
    const { stdout, stderr } = await promisify(execFile)(
      chromium,
      [...FLAGS, `--user-data-dir=${profile}`, '--dump-dom', pathToFileURL(file).href],
      { timeout: 60_000, maxBuffer: 64 * 2 ** 20 },
    );
    return { dom: stdout, console: stderr.split('\n').filter((line) => line.includes(':CONSOLE')) };
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
