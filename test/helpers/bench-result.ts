import type { BenchResult, LatencyHistogram, Metric, Series } from '../../bench/report/result.ts';

/** A result as a run over two targets makes it; `changes` replace whole fields. */
export function benchResult(changes: Partial<BenchResult> = {}): BenchResult {
  return {
    schema: 1,
    scenario: 'connect',
    command: 'npm run bench -- connect --rate 500 --vs nginx',
    startedAt: '2026-01-02T03:04:05.000Z',
    durationS: 61.5,
    machine: { cpu: 'A Processor', cores: 2, memoryBytes: 24 * 2 ** 30, kernel: 'Linux 6.1.0' },
    versions: { owsla: '0.1.0', node: '20.19.0', nginx: '1.22.1' },
    options: { rate: 500, connections: 4_000, resume: 0.5, vs: 'nginx', ramp: false },
    metrics: [
      figure('handshake.cpu', 'us', 'owsla', 412.3, 'lower', [400, 431]),
      figure('handshake.cpu', 'us', 'nginx', 283.9, 'lower', [270, 290]),
      figure('memory.perConnection', 'B', 'owsla', 31_400, 'lower'),
      figure('memory.perConnection', 'B', 'nginx', 36_200, 'lower'),
      figure('connect.rate', '1/s', 'owsla', 498.7, 'higher'),
      figure('connect.failed', '{connection}', 'owsla', 0, 'lower'),
      figure('harness.cpu', '%', 'harness', 38.2),
      figure('handshake.cpu.ratio', '1', 'nginx', 1.45, 'lower', [1.38, 1.52]),
    ],
    histograms: [latency('handshake', 'owsla', 2.1), latency('handshake', 'nginx', 1.4)],
    series: [
      overTime('connect.rate', '1/s', 'owsla', (s) => 500 + 20 * Math.sin(s)),
      overTime('connect.rate', '1/s', 'nginx', (s) => 500 + 12 * Math.cos(s)),
      overTime('handshake.p99', 'ms', 'owsla', (s) => (s > 20 && s < 25 ? 400 : 4)),
      overTime('memory', 'B', 'owsla', (s) => 90e6 + s * 2e6),
      overTime('memory', 'B', 'nginx', (s) => 20e6 + s * 2.3e6),
      overTime('cpu', '%', 'owsla', (s) => 60 + 10 * Math.sin(s / 3)),
      overTime('cpu', '%', 'nginx', (s) => 40 + 10 * Math.cos(s / 3)),
      overTime('cpu', '%', 'harness', () => 38),
    ],
    notes: ['The harness used 38 % of two cores.'],
    problems: [],
    ...changes,
  };
}

export function figure(
  name: string,
  unit: string,
  target: string,
  value: number,
  better?: Metric['better'],
  spread?: Metric['spread'],
): Metric {
  return { name, unit, target, value, ...(better && { better }), ...(spread && { spread }) };
}

function latency(name: string, target: string, medianMs: number): LatencyHistogram {
  const positions = Array.from({ length: 41 }, (_, step) => step / 10);
  const percentiles = positions.map(
    (nines) => [100 * (1 - 10 ** -nines), medianMs * 3 ** (nines - 0.3)] as const,
  );
  return { name, target, count: 30_000, maxMs: medianMs * 150, percentiles };
}

function overTime(name: string, unit: string, target: string, valueAt: (s: number) => number): Series {
  return { name, unit, target, points: Array.from({ length: 60 }, (_, s) => [s, valueAt(s)] as const) };
}
