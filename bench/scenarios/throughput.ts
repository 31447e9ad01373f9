import { setTimeout as delay } from 'node:timers/promises';
import { fleetOptions, lineOptions, targetOptions } from '../cli/common-options.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { harnessProblems, type ScheduleFigures } from '../harness-verdict.ts';
import { Site } from '../site.ts';
import { enterCpu } from './echo.ts';
import { LineTraffic } from './line-traffic.ts';
import { scenario } from './scenario.ts';
import { TrafficWindow } from './traffic-window.ts';

const options = {
  devices: { kind: 'count', default: 100, min: 1, help: 'Devices that send.' },
  rate: {
    kind: 'number',
    default: 0,
    unit: 'lines/s',
    help: 'Lines a second, open loop; 0: as many as are taken, so that the target sets the pace.',
  },
  backlog: {
    kind: 'count',
    default: 20_000,
    min: 1,
    help: 'Lines on their way to the backend at most, when the target sets the pace.',
  },
  duration: { kind: 'duration', default: 20, min: 0.1, help: 'Length of the measurement.' },
  ...lineOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

/** A device sends as much as is taken. */
const NO_RATES = { OWSLA_ENDPOINT_MAX_FRAMES_PER_SECOND: '0', OWSLA_ENDPOINT_MAX_BYTES_PER_SECOND: '0' };

export const throughput = scenario({
  name: 'throughput',
  summary: 'one-way lines a second into confirmed queues',
  description: `Devices send, nobody answers. A line counts when a backend has taken it from the broker's durable queue; a quorum
queue hands out only what it has written. In the end every line must have come.`,
  options,
  async run(run, options) {
    const { rate, duration, warmup, maxLag } = options;
    const site = await Site.prepare(run, options, NO_RATES);
    const target = await site.startTarget(options.devices);
    const traffic = await LineTraffic.start(run, site, target, options, 'sink');
    run.say(`sending for ${duration} s, after ${warmup} s to warm up`);
    await (rate > 0 ? traffic.send(rate) : traffic.flood(options.backlog));
    await delay(warmup * 1_000);
    const window = await TrafficWindow.begin(run, site, traffic, 'measured');
    await delay(duration * 1_000);
    const figures = await window.end('after');
    traffic.watch.end();
    await traffic.settle();

    const { measured } = run;
    const { linesTaken, linesSent, elapsedS, busiestCpuShare } = figures;
    const perS = linesTaken / elapsedS;
    measured.metric('throughput', '1/s', perS, target.name, 'higher');
    measured.metric('throughput.bytes', 'B/s', perS * options.lineBytes, target.name, 'higher');
    enterCpu(run, 'line', figures, linesTaken);
    const book = (await traffic.fleet.phases()).get('measured') ?? new LatencyBook();
    const schedules: Record<string, ScheduleFigures> = {};
    if (rate > 0) {
      const lagP99Ms = book.percentileMs('lag.send', 99);
      schedules.sends = { lagP99Ms, planned: Math.floor(rate * elapsedS), done: linesSent };
      measured.metric('harness.lag.p99', 'ms', lagP99Ms, 'harness');
    }
    for (const problem of harnessProblems({ busiestCpuShare, schedules }, maxLag * 1_000))
      measured.problem(problem);
    await traffic.holdAgainstBroker(await traffic.account());
  },
});
