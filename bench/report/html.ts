import {
  type FigureRow,
  figureCells,
  figureRows,
  isRatio,
  LATENCY_TITLES,
  latencyCells,
  targetsOf,
} from './figures.ts';
import { formatFigure, formatNumber, scaleOf } from './format.ts';
import { embedJson, embedScript, embedStyle, escapeText } from './markup.ts';
import { type Plot, plotsOf } from './plots.ts';
import type { BenchResult, LatencyHistogram, Series } from './result.ts';

/** What the page brings along, as source text, in order. */
export interface PageAssets {
  readonly scripts: readonly string[];
  readonly styles: readonly string[];
}

/** The policy forbids whatever would reach out, so that a page made of somebody else's results cannot either. */
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";

/** One self-contained page: plots by uPlot, and every figure in a table for readers without JavaScript. */
export function renderPage(result: BenchResult, assets: PageAssets): string {
  const plots = plotsOf(result);
  const targets = targetsOf(result);
  const rows = figureRows(result.metrics);
  const title = escapeText(`${result.scenario}: ${targets.join(', ')}`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
${assets.styles.map((style) => `<style>${embedStyle(style)}</style>`).join('\n')}
</head>
<body>
<header>
<h1>${escapeText(result.scenario)}</h1>
<p>${escapeText(result.startedAt)}, ${escapeText(formatNumber(result.durationS))} s</p>
<pre><code>${escapeText(result.command)}</code></pre>
</header>
${problems(result.problems)}
${section('Figures', figureTable(rows.filter((row) => !isRatio(row))))}
${section('Ratios', figureTable(rows.filter(isRatio)))}
${section('Notes', list(result.notes))}
${section('Plots', plotFigures(plots), 'plots')}
${section('Latency, ms', latencyTable(result.histograms))}
${section('Over time', seriesTable(result.series))}
${section('Machine and programs', pairs(environment(result)))}
${section('Options', pairs(Object.entries(result.options).map(([name, value]) => [name, String(value)])))}
<script type="application/json" id="plots">${embedJson(plots)}</script>
${assets.scripts.map((script) => `<script>${embedScript(script)}</script>`).join('\n')}
</body>
</html>
`;
}

function section(title: string, body: string, className?: string): string {
  if (body === '') return '';
  const attribute = className === undefined ? '' : ` class="${className}"`;
  return `<section${attribute}>\n<h2>${title}</h2>\n${body}\n</section>`;
}

function problems(entries: readonly string[]): string {
  if (entries.length === 0) return '';
  return `<section class="problems" role="alert">
<h2>Problems: do not trust the figures of this run</h2>
${list(entries)}
</section>`;
}

function list(entries: readonly string[]): string {
  if (entries.length === 0) return '';
  return `<ul>\n${entries.map((entry) => `<li>${escapeText(entry)}</li>`).join('\n')}\n</ul>`;
}

function plotFigures(plots: readonly Plot[]): string {
  if (plots.length === 0) return '';
  const hint = '<noscript>The plots need JavaScript; the tables below have their figures.</noscript>';
  return [hint, ...plots.map(plotFigure)].join('\n');
}

function plotFigure({ title, xLabel, yLabel }: Plot, index: number): string {
  const label = escapeText(`${title}: ${yLabel} by ${xLabel}`);
  return `<figure>
<figcaption>${escapeText(title)}</figcaption>
<div class="plot" data-plot="${index}" role="img" aria-label="${label}"></div>
</figure>`;
}

function figureTable(rows: readonly FigureRow[]): string {
  if (rows.length === 0) return '';
  const arrows = { lower: ' ↓', higher: ' ↑' };
  const { targets, isSpread, cells } = figureCells(
    rows.map((row) => (row.better === undefined ? row : { ...row, name: row.name + arrows[row.better] })),
  );
  const explanation = [
    ...(rows.some(({ better }) => better !== undefined) ? ['↓ less is better, ↑ more is better.'] : []),
    ...(isSpread ? ['In brackets: least and greatest of the rounds.'] : []),
  ].join(' ');
  return table(['', 'unit', ...targets], cells) + (explanation === '' ? '' : `\n<p>${explanation}</p>`);
}

function latencyTable(histograms: readonly LatencyHistogram[]): string {
  return histograms.length === 0 ? '' : table(['', ...LATENCY_TITLES], histograms.map(latencyCells));
}

function seriesTable(series: readonly Series[]): string {
  if (series.length === 0) return '';
  const body = series
    .filter(({ points }) => points.length > 0)
    .map(({ name, unit, target, points }) => {
      const values = points.map(([, value]) => value);
      const { label, divisor } = scaleOf(unit, values);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const least = values.reduce((a, b) => Math.min(a, b));
      const greatest = values.reduce((a, b) => Math.max(a, b));
      const figures = [values[0]!, least, mean, greatest, values.at(-1)!];
      return [name, target, label, ...figures.map((value) => formatNumber(value / divisor))];
    });
  return table(['', 'target', 'unit', 'first', 'least', 'mean', 'greatest', 'last'], body);
}

/** Columns of words are set flush left, those of figures flush right. */
function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const isText = head.map((title) => title === '' || title === 'unit' || title === 'target');
  const cell = (tag: string, text: string, column: number) =>
    `<${tag}${isText[column] === true ? ' class="text"' : ''}>${escapeText(text)}</${tag}>`;
  const row = (cells: readonly string[], first: 'th' | 'td') =>
    `<tr>${cells.map((text, column) => cell(column === 0 ? 'th' : first, text, column)).join('')}</tr>`;
  return `<div class="wide"><table>
<thead>${row(head, 'th')}</thead>
<tbody>
${body.map((cells) => row(cells, 'td')).join('\n')}
</tbody>
</table></div>`;
}

function environment({ machine, versions }: BenchResult): [string, string][] {
  return [
    ['processor', `${machine.cpu}, ${machine.cores} cores`],
    ['memory', formatFigure(machine.memoryBytes, 'B')],
    ['kernel', machine.kernel],
    ...Object.entries(versions),
  ];
}

function pairs(entries: readonly (readonly [string, string])[]): string {
  if (entries.length === 0) return '';
  const items = entries.map(
    ([name, value]) => `<div><dt>${escapeText(name)}</dt><dd>${escapeText(value)}</dd></div>`,
  );
  return `<dl>\n${items.join('\n')}\n</dl>`;
}
