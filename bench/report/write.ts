import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type PageAssets, renderPage } from './html.ts';
import type { BenchResult } from './result.ts';

/** Writes a result to the files that are named: as JSON, and as a page that opens from disk. */
export async function writeReport(
  result: BenchResult,
  files: { json?: string; html?: string },
): Promise<void> {
  if (files.json !== undefined) await writeFile(files.json, `${JSON.stringify(result, null, 1)}\n`);
  if (files.html !== undefined) await writeFile(files.html, renderPage(result, await readAssets()));
}

/** uPlot from `node_modules`, and our own script and style beside this file. */
export async function readAssets(): Promise<PageAssets> {
  const require = createRequire(import.meta.url);
  const [plotScript, plotStyle, pageScript, pageStyle] = await Promise.all(
    [
      require.resolve('uplot/dist/uPlot.iife.min.js'),
      require.resolve('uplot/dist/uPlot.min.css'),
      new URL('./page/page.js', import.meta.url),
      new URL('./page/page.css', import.meta.url),
    ].map((file) => readFile(file, 'utf8')),
  );
  return { scripts: [plotScript!, pageScript!], styles: [plotStyle!, pageStyle!] };
}
