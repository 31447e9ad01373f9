import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readResult } from '../../bench/report/read.ts';
import { writeReport } from '../../bench/report/write.ts';
import { findChromium } from '../../src/dev/chromium.ts';
import { benchResult } from '../helpers/bench-result.ts';
import { openPage } from '../helpers/browser.ts';
import { requiredTool } from '../helpers/required-tool.ts';

/** Notes in the document how many canvases have a pixel in them. */
const COUNT_DRAWN = `<script>addEventListener('load', () => {
  const isDrawn = (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.some((byte) => byte !== 0);
  };
  document.body.dataset.drawn = [...document.querySelectorAll('canvas')].filter(isDrawn).length;
});</script>`;

describe('the page of a bench result', () => {
  let dir: string;
  let html: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'owsla-page-test-'));
    html = join(dir, 'result.html');
  });

  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('draws all its plots from disk, without an error', async (context) => {
    const chromium = requiredTool(findChromium(), 'chromium', context);
    const hostile = `</script><script>document.body.dataset.hostile = 1</script>`;
    await writeReport(benchResult({ notes: [hostile], command: hostile }), { html });
    writeFileSync(html, COUNT_DRAWN, { flag: 'a' });

    const { dom, console } = await openPage(chromium, html);
    expect(console).toEqual([]);
    expect(dom).toContain('data-drawn="5"');
    expect(dom).not.toContain('data-hostile');
    // The legend names each line.
    expect(dom.match(/class="u-label">nginx</g)).toHaveLength(4);
  });

  test('notices an error in a page', async (context) => {
    const chromium = requiredTool(findChromium(), 'chromium', context);
    writeFileSync(html, '<script>missing()</script>');
    const { console } = await openPage(chromium, html);
    expect(console).toEqual([expect.stringContaining('missing is not defined')]);
  });

  test('reaches out to nothing, and the JSON beside it can be read again', async () => {
    const json = join(dir, 'result.json');
    await writeReport(benchResult(), { html, json });
    const page = readFileSync(html, 'utf8');
    expect(page).not.toMatch(/<(link|img|iframe)\b|\bsrc=|@import|url\(/);
    expect(page).toContain("default-src 'none'");
    expect(await readResult(json)).toEqual(benchResult());
  });
});
