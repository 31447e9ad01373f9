import { formatNumber } from './format.ts';
import { escapeText } from './markup.ts';

/** A plot for documents: one SVG without scripts or fonts of its own, legible on light and dark pages. */
export interface Drawing {
  readonly title: string;
  readonly xLabel: string;
  readonly yScale: 'linear' | 'log';
  readonly lines: readonly {
    readonly label: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
  /** A stretch of x that is shaded, and named. */
  readonly span?: { readonly name: string; readonly from: number; readonly to: number } | undefined;
}

const WIDTH = 720;
const HEIGHT = 300;
const LEFT = 56;
const RIGHT = 12;
const TOP = 48;
const BOTTOM = 40;
/** Told apart by people who do not see colours alike, and on both grounds. */
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9'];
const TICKS = 5;

/** @throws Error when there is no point to draw, or more lines than colours */
export function renderSvg({ title, xLabel, yScale, lines, span }: Drawing): string {
  if (lines.length > COLORS.length) throw new Error(`at most ${COLORS.length} lines, not ${lines.length}`);
  // A logarithmic axis has no place for zero.
  const drawn = lines.map(({ label, points }) => ({
    label,
    points: yScale === 'log' ? points.filter(([, y]) => y > 0) : points,
  }));
  const all = drawn.flatMap(({ points }) => points);
  if (all.length === 0) throw new Error('there is nothing to draw');
  const xs = [...all.map(([x]) => x), ...(span === undefined ? [] : [span.from, span.to])];
  const ys = all.map(([, y]) => y);
  const x = axis(Math.min(...xs), Math.max(...xs), LEFT, WIDTH - RIGHT);
  const y =
    yScale === 'log'
      ? logAxis(Math.min(...ys), Math.max(...ys), HEIGHT - BOTTOM, TOP)
      : axis(0, Math.max(...ys), HEIGHT - BOTTOM, TOP);
  const parts = [
    text(LEFT, 16, title, 'start', 'font-weight="bold"'),
    ...(span === undefined ? [] : shade(x.place(span.from), x.place(span.to), span.name)),
    ...y.ticks.flatMap((tick) => [
      `<path class="grid" d="M${LEFT} ${at(y.place(tick))}H${WIDTH - RIGHT}"/>`,
      text(LEFT - 6, y.place(tick) + 4, formatNumber(tick), 'end'),
    ]),
    ...x.ticks.map((tick) => text(x.place(tick), HEIGHT - BOTTOM + 16, formatNumber(tick), 'middle')),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, xLabel, 'middle'),
    ...drawn.flatMap(({ label, points }, i) => [
      `<path fill="none" stroke="${COLORS[i]}" stroke-width="2" stroke-linejoin="round" d="${points
        .map(([px, py], n) => `${n === 0 ? 'M' : 'L'}${at(x.place(px))} ${at(y.place(py))}`)
        .join('')}"/>`,
      text(
        LEFT + i * ((WIDTH - LEFT) / lines.length),
        34,
        `▬ ${label}`,
        'start',
        `style="fill:${COLORS[i]}"`,
      ),
    ]),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<title>${escapeText(title)}</title>
<style>text{fill:#444}.grid{stroke:#8884}.span{fill:#8882}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>
${parts.join('\n')}
</svg>
`;
}

interface Axis {
  readonly ticks: readonly number[];
  place(value: number): number;
}

function axis(least: number, greatest: number, from: number, to: number): Axis {
  const range = greatest - least || 1;
  const step = roundStep(range / TICKS);
  const end = least + Math.max(range, step);
  const ticks: number[] = [];
  for (let n = Math.ceil(least / step); n * step <= end + step / 1e6; n++) ticks.push(n * step + 0); // Never -0.
  return { ticks, place: (value) => from + ((value - least) / (end - least)) * (to - from) };
}

/** From the power of ten below the least value to the one above the greatest. */
function logAxis(least: number, greatest: number, from: number, to: number): Axis {
  const first = Math.floor(Math.log10(least));
  const last = Math.max(first + 1, Math.ceil(Math.log10(greatest)));
  const ticks = Array.from({ length: last - first + 1 }, (_, n) => 10 ** (first + n));
  return { ticks, place: (value) => from + ((Math.log10(value) - first) / (last - first)) * (to - from) };
}

/** The next of 1, 2, 5, 10, 20, … */
function roundStep(step: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].map((n) => n * magnitude).find((n) => n >= step * (1 - 1e-9))!;
}

function shade(from: number, to: number, name: string): string[] {
  return [
    `<rect class="span" x="${at(from)}" y="${TOP}" width="${at(to - from)}" height="${HEIGHT - BOTTOM - TOP}"/>`,
    text(from + 4, TOP + 14, name, 'start'),
  ];
}

function text(x: number, y: number, content: string, anchor: string, more = ''): string {
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" ${more}>${escapeText(content)}</text>`;
}

/** A tenth of a pixel is enough. */
function at(pixels: number): string {
  return String(Math.round(pixels * 10) / 10);
}
