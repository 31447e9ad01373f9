import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { drawingOf, parsePlotArguments, plotCommand } from '../../../../bench/report/plot.ts';
import { renderSvg } from '../../../../bench/report/svg.ts';
import { benchResult } from '../../../helpers/bench-result.ts';
import { CapturedOutput } from '../../../helpers/captured-output.ts';

const STORM = { name: 'storm', fromS: 20, toS: 30 };
const result = benchResult({
  series: [
    {
      name: 'rtt.p99',
      unit: 'ms',
      target: 'owsla',
      points: [
        [19, 4],
        [21, 40_000],
        [31, 5],
      ],
    },
    {
      name: 'connect.rate',
      unit: '1/s',
      target: 'storm',
      points: [
        [19, 0],
        [21, 600],
        [31, 0],
      ],
    },
  ],
  spans: [STORM],
});
const always = { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY };
const request = {
  series: 'rtt.p99',
  target: 'owsla',
  span: 'storm',
  ...always,
  log: false,
  title: undefined,
};
const of = (label: string) => ({ label, file: `${label}.json`, result });

describe('a drawing', () => {
  test('counts time from its span, and has a scale that fits', () => {
    const { title, lines, span } = drawingOf([of('on'), of('off')], request);
    expect(title).toBe('rtt.p99 of owsla, s');
    expect(lines.map(({ label }) => label)).toEqual(['on', 'off']);
    expect(lines[0]!.points).toEqual([
      [-1, 0.004],
      [1, 40],
      [11, 0.005],
    ]);
    expect(span).toEqual({ name: 'storm', from: 0, to: 10 });
  });

  test('leaves out what is before and after', () => {
    const { lines } = drawingOf([of('on')], { ...request, from: 0, to: 10 });
    expect(lines[0]!.points).toEqual([[1, 40]]);
  });

  test('names the file that lacks what is asked for, and what it has', () => {
    expect(() => drawingOf([of('on')], { ...request, series: 'rtt' })).toThrow(
      'on.json: no series rtt of owsla; it has rtt.p99 of owsla, connect.rate of storm',
    );
    expect(() => drawingOf([of('on')], { ...request, span: 'calm' })).toThrow('on.json: no span calm');
  });

  test('keeps every point within its frame, whatever the scale', () => {
    for (const yScale of ['linear', 'log'] as const) {
      const points = [
        [-3, 0],
        [0, 0.02],
        [7, 900],
      ] as const;
      const svg = renderSvg({ title: 't', xLabel: 's', yScale, lines: [{ label: 'a', points }] });
      const [, path] = / d="([^"]+)"\/>\n<text[^>]*>▬/.exec(svg)!;
      const places = [...path!.matchAll(/[ML]([\d.-]+) ([\d.-]+)/g)].map(([, x, y]) => [
        Number(x),
        Number(y),
      ]);
      expect(places).toHaveLength(yScale === 'log' ? 2 : 3);
      for (const [x, y] of places) {
        expect(x).toBeGreaterThanOrEqual(56);
        expect(x).toBeLessThanOrEqual(708);
        expect(y).toBeGreaterThanOrEqual(48);
        expect(y).toBeLessThanOrEqual(260);
      }
    }
  });

  test('has no text that is read as markup', () => {
    const lines = [{ label: '<b>&', points: [[0, 1]] as const }];
    const svg = renderSvg({ title: 'a < b', xLabel: 's', yScale: 'linear', lines });
    expect(svg).toContain('▬ &lt;b&gt;&amp;');
    expect(svg).toContain('a &lt; b');
  });

  test('needs a point, and a colour for each line', () => {
    const drawing = { title: 't', xLabel: 's', yScale: 'log' as const };
    expect(() => renderSvg({ ...drawing, lines: [{ label: 'a', points: [[0, 0]] }] })).toThrow(
      'nothing to draw',
    );
    const line = { label: 'a', points: [[0, 1]] as const };
    expect(() => renderSvg({ ...drawing, lines: Array(6).fill(line) })).toThrow('at most 5 lines, not 6');
  });
});

describe('bench plot', () => {
  let folder: string;
  let output: CapturedOutput;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'owsla-test-'));
    output = CapturedOutput.begin();
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true });
  });

  test('takes labels, or the names of files', () => {
    const { files } = parsePlotArguments(['--series', 's', '--svg', 'o.svg', 'as it is=a.json', 'b.json']);
    expect(files).toEqual([
      { label: 'as it is', file: 'a.json' },
      { label: 'b.json', file: 'b.json' },
    ]);
  });

  test('writes the file', async () => {
    const [json, svg] = [join(folder, 'r.json'), join(folder, 'o.svg')];
    writeFileSync(json, JSON.stringify(result));
    const args = ['--series', 'connect.rate', '--target', 'storm', '--span', 'storm', '--svg', svg];
    expect(await plotCommand([...args, `on=${json}`])).toBe(0);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg [\s\S]*connect\.rate of storm, \/s[\s\S]*<\/svg>\n$/);
  });

  test.each([
    [[], 'expected --series NAME and --svg FILE'],
    [['--series', 's', '--svg', 'o'], 'expected at least one result file'],
    [
      ['--series', 's', '--svg', 'o', '--from=soon', 'a.json'],
      '--from: expected seconds such as 20, got soon',
    ],
    [['--series', 's', '--svg', 'o', 'none.json'], 'none.json: cannot be read (ENOENT)'],
  ])('%j is refused with one line', async (args, message) => {
    expect(await plotCommand(args)).toBe(64);
    expect(output.stderr).toBe(`bench plot: ${message}\n`);
  });
});
