import { describe, expect, test } from 'vitest';
import { ASSUMED_COSTS, COST_NAMES, COST_SOURCES, unitCosts } from '../../../../bench/plan/unit-costs.ts';
import { benchResult, figure } from '../../../helpers/bench-result.ts';

const of = (file: string, ...metrics: Parameters<typeof figure>[]) => ({
  file,
  result: benchResult({ options: {}, metrics: metrics.map((metric) => figure(...metric)) }),
});

describe('unit costs', () => {
  test('are assumed where nothing was measured', () => {
    expect(unitCosts([])).toEqual({ costs: ASSUMED_COSTS, files: {}, warnings: [] });
  });

  test('come from the metrics that name them, the last file first', () => {
    const { costs, files, warnings } = unitCosts([
      of('a.json', ['handshake.cpu', 'us', 'owsla', 500], ['handshake.cpu', 'us', 'nginx', 280]),
      of('b.json', ['handshake.cpu', 'us', 'owsla', 450], ['message.cpu', 'us', 'broker', 70]),
    ]);
    expect(costs).toEqual({ ...ASSUMED_COSTS, fullHandshakeUs: 450, messageUs: 70 });
    expect(files).toEqual({ fullHandshakeUs: 'b.json', messageUs: 'b.json' });
    expect(warnings).toEqual([]);
  });

  test('can each be measured', () => {
    const metrics = COST_NAMES.map((name): Parameters<typeof figure> => {
      const { unit, readings } = COST_SOURCES[name];
      return [readings[0].metric, unit, readings[0].target, 7];
    });
    const { costs, files } = unitCosts([of('all.json', ...metrics)]);
    expect(Object.values(costs)).toEqual(COST_NAMES.map(() => 7));
    expect(Object.keys(files)).toEqual(COST_NAMES);
  });

  test('are read from what scenarios measure', () => {
    const { costs } = unitCosts([
      of('connect.json', ['handshake.cpu', 'ms', 'owsla', 0.5]),
      of('echo.json', ['rtt.cpu', 'us', 'owsla', 60], ['rtt.cpu', 'us', 'broker', 200]),
    ]);
    expect(costs).toEqual({ ...ASSUMED_COSTS, fullHandshakeUs: 500, roundTripUs: 60, messageUs: 100 });
  });

  test('know a full handshake from a resumed one by the options of the run', () => {
    const { file, result } = of('connect.json', ['handshake.cpu', 'us', 'owsla', 300]);
    const costsWith = (resume: number) =>
      unitCosts([{ file, result: { ...result, options: { ...result.options, resume } } }]).costs;
    expect(costsWith(0)).toEqual({ ...ASSUMED_COSTS, fullHandshakeUs: 300 });
    expect(costsWith(1)).toEqual({ ...ASSUMED_COSTS, resumedHandshakeUs: 300 });
    expect(costsWith(0.5)).toEqual(ASSUMED_COSTS);
  });

  test('are refused in another unit, and when they are nothing', () => {
    expect(() => unitCosts([of('a.json', ['handshake.cpu', 'B', 'owsla', 1])])).toThrow(
      'a.json: handshake.cpu is in B; expected us',
    );
    expect(() => unitCosts([of('a.json', ['handshake.cpu', 'us', 'owsla', 0])])).toThrow(
      'a.json: handshake.cpu is 0; expected more than 0',
    );
  });

  test('warn of runs with problems, of files without costs, and of costs that do not go together', () => {
    const bad = of('a.json', ['line.cpu', 'us', 'owsla', 90]);
    expect(
      unitCosts([{ ...bad, result: { ...bad.result, problems: ['lines were lost'] } }, of('b.json')])
        .warnings,
    ).toEqual([
      'a.json is of a run with a problem: lines were lost',
      'b.json has none of the unit costs',
      'a line costs more than a round trip: one of them is off, and a reply counts as free',
    ]);
  });
});
