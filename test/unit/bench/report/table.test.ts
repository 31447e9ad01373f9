import { describe, expect, test } from 'vitest';
import { renderTable } from '../../../../bench/report/table.ts';
import { benchResult } from '../../../helpers/bench-result.ts';

describe('the table at the end of a run', () => {
  test('sets the targets side by side, and ratios with their spread apart', () => {
    const lines = renderTable(benchResult()).split('\n');
    const figures = lines.findIndex((line) => line.startsWith('figure'));
    expect(lines[figures]).toMatch(/^figure \(least–greatest\) +unit +owsla +nginx +harness$/);
    expect(lines[figures + 1]).toMatch(/^handshake\.cpu +µs +412 \(400–431\) +284 \(270–290\)$/);
    expect(lines[figures + 2]).toMatch(/^memory\.perConnection +KiB +30\.7 +35\.4$/);
    const ratios = lines.findIndex((line) => line.startsWith('ratio'));
    expect(lines[ratios + 1]).toMatch(/^handshake\.cpu\.ratio +1\.45 \(1\.38–1\.52\)$/);
  });

  test('has the percentiles of each histogram', () => {
    expect(renderTable(benchResult())).toMatch(
      /^handshake +owsla +30,000 +2\.34 +4\.53 +13\.6 +40\.8 +122 +315$/m,
    );
  });

  test('ends with the problems', () => {
    const problems = ['12 lines were lost', 'the load was not reached'];
    const text = renderTable(benchResult({ problems }));
    expect(text.split('\n').slice(-3)).toEqual([
      '!!! 2 PROBLEMS: do not trust the figures of this run',
      '!!! 12 lines were lost',
      '!!! the load was not reached',
    ]);
    expect(renderTable(benchResult())).not.toContain('!!!');
  });

  test('has no colours unless asked for', () => {
    const result = benchResult({ problems: ['one'] });
    expect(renderTable(result)).not.toContain('\x1b');
    expect(renderTable(result, { color: true })).toContain('\x1b[1;31m!!! one\x1b[0m');
  });
});
