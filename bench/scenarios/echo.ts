import { setTimeout as delay } from 'node:timers/promises';
import { backendOptions, fleetOptions, lineOptions, targetOptions } from '../cli/common-options.ts';
import type { Values } from '../cli/option-table.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { harnessProblems } from '../harness-verdict.ts';
import type { Run } from '../run.ts';
import { Site } from '../site.ts';
import { LineTraffic } from './line-traffic.ts';
import { RampSearch } from './ramp-search.ts';
import { scenario } from './scenario.ts';
import { TrafficWindow, type WindowFigures } from './traffic-window.ts';

const RAMP_FACTOR = 1.5;
const RAMP_PRECISION = 0.1;
/** Traffic at a new rate before it is judged. */
const RAMP_WARMUP_MS = 1_000;

/** Growth of what is outstanding, in seconds of traffic, that shows a rate beyond what can be kept up. */
const OVERLOAD_S = 1;

const options = {
  devices: { kind: 'count', default: 200, min: 1, help: 'Devices that are connected and send in turn.' },
  rate: {
    kind: 'number',
    default: 1_000,
    min: 0.1,
    unit: 'lines/s',
    help: 'Lines a second of all devices together, open loop; where a ramp begins.',
  },
  duration: { kind: 'duration', default: 30, min: 0.1, help: 'Length of the measurement.' },
  ramp: {
    kind: 'flag',
    help: 'First look for the highest rate that holds the bound, then measure at that rate.',
  },
  rampP99: { kind: 'duration', default: 0.05, min: 0.001, help: 'The bound: p99 of a round trip.' },
  rampStep: { kind: 'duration', default: 5, min: 0.1, help: 'Length of one step of the ramp.' },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

type Options = Values<typeof options>;

export const echo = scenario({
  name: 'echo',
  summary: 'round trips at a line rate: latency, CPU for each',
  description: `Devices send lines at planned times, a backend sends each back, and the time of a round trip counts from the
planned time, however late the line left. Every line and reply is in a ledger; CPU is that of the measurement alone,
divided by its round trips.`,
  options,
  async run(run, options) {
    const site = await Site.prepare(run, options);
    const target = await site.startTarget(options.devices);
    const traffic = await LineTraffic.start(run, site, target, options, options);
    const rate = options.ramp ? await ramp(run, site, traffic, options) : options.rate;
    if (rate > 0) await measureEcho(run, site, traffic, { ...options, rate });
    traffic.watch.end();
    await traffic.settle();
    await traffic.holdAgainstBroker(await traffic.account());
  },
});

/** Warms up, measures for the time of `--duration`, and enters latency and CPU. Leaves the traffic settled. */
export async function measureEcho(
  run: Run,
  site: Site,
  traffic: LineTraffic,
  options: { rate: number; warmup: number; duration: number; maxLag: number },
): Promise<void> {
  const { rate, warmup, duration, maxLag } = options;
  const { name } = traffic.target;
  run.say(`${rate.toFixed(0)} lines/s for ${duration} s, after ${warmup} s to warm up`);
  await traffic.send(rate);
  await delay(warmup * 1_000);
  const window = await TrafficWindow.begin(run, site, traffic, 'measured');
  await delay(duration * 1_000);
  const figures = await window.end('after');
  await traffic.settle();

  const book = (await traffic.fleet.phases()).get('measured') ?? new LatencyBook();
  const { measured } = run;
  measured.metric('line.rate', '1/s', figures.linesSent / figures.elapsedS, name);
  measured.metric('reply.rate', '1/s', figures.replies / figures.elapsedS, name, 'higher');
  measured.latency('rtt', book, 'rtt', name);
  enterCpu(run, 'rtt', figures, figures.replies);
  measured.metric('harness.lag.p99', 'ms', book.percentileMs('lag.send', 99), 'harness');
  for (const problem of problemsOf(figures, book, rate, maxLag)) measured.problem(problem);
  const behind = figures.linesSent - figures.replies - traffic.backend.counters.dropped;
  if (behind > rate * OVERLOAD_S)
    measured.problem(
      `overload: at the end of the measurement ${behind} replies were outstanding more than at its begin; the latency says how long the measurement was, not how fast the target is`,
    );
}

/** CPU of each by what was done with it. */
export function enterCpu(run: Run, name: string, { cpuMs, elapsedS }: WindowFigures, count: number): void {
  for (const [target, ms] of cpuMs) {
    run.measured.metric(`${name}.cpu`, 'us', (ms * 1_000) / count, target, 'lower');
    run.measured.metric('cpu', '%', ms / 10 / elapsedS, target);
  }
}

function problemsOf(figures: WindowFigures, book: LatencyBook, rate: number, maxLag: number): string[] {
  const { busiestCpuShare, linesSent, elapsedS } = figures;
  const lagP99Ms = book.percentileMs('lag.send', 99);
  const latencyP99Ms = book.percentileMs('rtt', 99);
  const sends = { lagP99Ms, latencyP99Ms, planned: Math.floor(rate * elapsedS), done: linesSent };
  return harnessProblems({ busiestCpuShare, schedules: { sends } }, maxLag * 1_000);
}

/** @returns the highest rate that held the bound; 0 when none did */
async function ramp(run: Run, site: Site, traffic: LineTraffic, options: Options): Promise<number> {
  const { rate: start, rampP99, rampStep, maxLag } = options;
  const search = new RampSearch(start, RAMP_FACTOR, RAMP_PRECISION);
  let harness: string[] = [];
  for (let rate = search.next; rate !== undefined; rate = search.next) {
    const phase = `ramp ${rate}`;
    await traffic.send(rate);
    await delay(RAMP_WARMUP_MS);
    const window = await TrafficWindow.begin(run, site, traffic, phase);
    await delay(rampStep * 1_000);
    const figures = await window.end('between');
    await traffic.settle();
    const book = (await traffic.fleet.phases()).get(phase) ?? new LatencyBook();
    const p99Ms = book.percentileMs('rtt', 99);
    const doubts = problemsOf(figures, book, rate, maxLag);
    const held = book.count('rtt') > 0 && p99Ms <= rampP99 * 1_000 && doubts.length === 0;
    if (!held) harness = doubts;
    run.say(`${rate.toFixed(0)} lines/s: p99 ${p99Ms.toFixed(1)} ms${held ? '' : ', does not hold'}`);
    search.record(held);
  }
  run.measured.metric('ramp.rate', '1/s', search.best, traffic.target.name, 'higher');
  if (search.best === 0) run.measured.problem(`no rate held a p99 of ${rampP99 * 1_000} ms`);
  for (const doubt of harness) run.measured.problem(`${doubt} (so the ramp ended at the harness)`);
  return search.best;
}
