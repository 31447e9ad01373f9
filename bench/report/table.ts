import { type FigureRow, figureCells, figureRows, isRatio, LATENCY_TITLES, latencyCells } from './figures.ts';
import { formatFigure, formatNumber, withUnit } from './format.ts';
import type { BenchResult, LatencyHistogram } from './result.ts';
import { textGrid } from './text-grid.ts';

/** Prints what a run found, on stdout: figures by target side by side, latencies, ratios, notes, problems. */
export function printTable(result: BenchResult): void {
  const color = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  process.stdout.write(`${renderTable(result, { color })}\n`);
}

export function renderTable(result: BenchResult, { color = false } = {}): string {
  const bold = (text: string) => (color ? `\x1b[1m${text}\x1b[0m` : text);
  const rows = figureRows(result.metrics);
  const sections = [
    [bold(result.scenario), ...heading(result)],
    grid(
      'figure',
      rows.filter((row) => !isRatio(row)),
      bold,
    ),
    grid('ratio', rows.filter(isRatio), bold),
    latencies(result.histograms, bold),
    list(bold('notes'), '-', result.notes),
    problems(result.problems, color),
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function heading({ machine, versions, startedAt, durationS, command }: BenchResult): string[] {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${startedAt}, ${formatNumber(durationS)} s: ${command}`,
    `${machine.cpu}, ${machine.cores} cores, ${formatFigure(machine.memoryBytes, 'B')}, ${machine.kernel}`,
    ...(programs.length > 0 ? [programs.join(', ')] : []),
  ];
}

function grid(title: string, rows: readonly FigureRow[], bold: (text: string) => string): string[] {
  if (rows.length === 0) return [];
  const { targets, isSpread, cells } = figureCells(rows);
  const titles = [isSpread ? `${title} (least–greatest)` : title, 'unit', ...targets];
  const [head, ...lines] = textGrid([titles, ...cells], [0, 1]);
  return [bold(head!), ...lines];
}

function latencies(histograms: readonly LatencyHistogram[], bold: (text: string) => string): string[] {
  if (histograms.length === 0) return [];
  const titles = ['latency, ms', ...LATENCY_TITLES];
  const [head, ...lines] = textGrid([titles, ...histograms.map(latencyCells)], [0, 1]);
  return [bold(head!), ...lines];
}

function list(title: string, bullet: string, entries: readonly string[]): string[] {
  return entries.length === 0 ? [] : [title, ...entries.map((entry) => `${bullet} ${entry}`)];
}

/** Last, so that it stands right above the prompt. */
function problems(entries: readonly string[], color: boolean): string[] {
  if (entries.length === 0) return [];
  const count = withUnit(String(entries.length), entries.length === 1 ? 'PROBLEM' : 'PROBLEMS');
  const lines = list(`!!! ${count}: do not trust the figures of this run`, '!!!', entries);
  return color ? lines.map((line) => `\x1b[1;31m${line}\x1b[0m`) : lines;
}
