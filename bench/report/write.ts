import { closeSync, lstatSync, openSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { reasonOf } from '../../src/config/problem.ts';
import { UsageError } from '../cli/option-table.ts';
import { type PageAssets, renderPage } from './html.ts';
import type { BenchResult } from './result.ts';

export interface ReportFiles {
  readonly json?: string;
  readonly html?: string;
}

/** That a result can be written, before time is spent on one; leaves all as it was. @throws UsageError */
export function checkReport(files: ReportFiles): void {
  for (const [name, file] of Object.entries(files)) {
    try {
      const isNew = lstatSync(file, { throwIfNoEntry: false }) === undefined;
      closeSync(openSync(file, 'a'));
      if (isNew) rmSync(file);
    } catch (error) {
      throw new UsageError(
        `--${name}: ${file} cannot be written (${reasonOf(error)}); expected a file in a folder that exists`,
      );
    }
  }
}

/** Writes a result to the files that are named: as JSON, and as a page that opens from disk. */
export async function writeReport(result: BenchResult, files: ReportFiles): Promise<void> {
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
