import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { labelled, scaleOf } from './format.ts';
import { readResult } from './read.ts';
import type { BenchResult } from './result.ts';
import { type Drawing, renderSvg } from './svg.ts';

const USAGE = `usage: bench plot --series NAME --svg FILE [--target NAME] [--span NAME] [--from S] [--to S] [--log]
                  [--title TEXT] [LABEL=]RESULT.json …

Draws a figure over time as an SVG, one line for each result: for documents. The page that --html writes has them all.

  --series NAME  which figure, for example rtt.p99 or connect.rate
  --svg FILE     where to
  --target NAME  of whom, for example owsla or storm (default: owsla)
  --span NAME    a stretch of the run, for example storm: shaded, and zero of the time
  --from S       the first second that is drawn
  --to S         the last one
  --log          logarithmic; zeroes are left out
  --title TEXT   (default: the series and its unit)

Exit status: 0 good, 64 bad usage.
`;

const BAD_USAGE = 64;

/** `bench plot`. Returns the exit status. */
export async function plotCommand(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const { files, svg, ...what } = parsePlotArguments(args);
    const results = [];
    // One after the other: of several files that cannot be read, the first is named.
    for (const { label, file } of files) results.push({ label, file, result: await readResult(file) });
    await writeFile(svg, renderSvg(drawingOf(results, what)));
    return 0;
  } catch (error) {
    process.stderr.write(`bench plot: ${(error as Error).message}\n`);
    return BAD_USAGE;
  }
}

export interface PlotRequest {
  readonly series: string;
  readonly target: string;
  readonly span: string | undefined;
  /** Seconds, as the plot counts them. */
  readonly from: number;
  readonly to: number;
  readonly log: boolean;
  readonly title: string | undefined;
}

/** @throws Error with one line that says what was expected */
export function parsePlotArguments(
  args: string[],
): PlotRequest & { svg: string; files: { label: string; file: string }[] } {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      series: text,
      svg: text,
      target: text,
      span: text,
      from: text,
      to: text,
      title: text,
      log: { type: 'boolean' },
    },
  });
  const { series, svg, target = 'owsla', span, title, log = false } = values;
  if (series === undefined || svg === undefined) throw new Error('expected --series NAME and --svg FILE');
  if (positionals.length === 0) throw new Error('expected at least one result file');
  const files = positionals.map((named) => {
    const [, label, file] = /^([^=]*)=(.+)$/.exec(named) ?? [undefined, named, named];
    return { label: label!, file: file! };
  });
  const from = seconds('--from', values.from, Number.NEGATIVE_INFINITY);
  const to = seconds('--to', values.to, Number.POSITIVE_INFINITY);
  return { series, svg, target, span, from, to, title, log, files };
}

function seconds(option: string, text: string | undefined, absent: number): number {
  if (text === undefined) return absent;
  if (!/^-?\d+(\.\d+)?$/.test(text)) throw new Error(`${option}: expected seconds such as 20, got ${text}`);
  return Number(text);
}

/** @throws Error with one line that names the file which lacks something, and what it has */
export function drawingOf(
  results: readonly { label: string; file: string; result: BenchResult }[],
  { series: name, target, span: spanName, from, to, log, title }: PlotRequest,
): Drawing {
  const found = results.map(({ label, file, result }) => {
    const series = result.series.find((one) => one.name === name && one.target === target);
    if (series === undefined) {
      const known = result.series.map((one) => `${one.name} of ${one.target}`).join(', ');
      throw new Error(`${file}: no series ${name} of ${target}; it has ${known}`);
    }
    const span = result.spans?.find((one) => one.name === spanName);
    if (spanName !== undefined && span === undefined) throw new Error(`${file}: no span ${spanName}`);
    return { label, series, span };
  });
  const { unit } = found[0]!.series;
  const scale = scaleOf(
    unit,
    found.flatMap(({ series }) => series.points.map(([, value]) => value)),
  );
  const lengthS = Math.max(...found.map(({ span }) => (span === undefined ? 0 : span.toS - span.fromS)));
  return {
    title: title ?? labelled(`${name} of ${target}`, scale.label),
    xLabel: spanName === undefined ? 'seconds' : `seconds since the begin of the ${spanName}`,
    yScale: log ? 'log' : 'linear',
    lines: found.map(({ label, series, span }) => ({
      label,
      points: series.points
        .map(([x, y]) => [x - (span?.fromS ?? 0), y / scale.divisor] as const)
        .filter(([x]) => x >= from && x <= to),
    })),
    span: spanName === undefined ? undefined : { name: spanName, from: 0, to: lengthS },
  };
}
