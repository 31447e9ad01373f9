import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import {
  backendOptions,
  establishedOptions,
  fleetOptions,
  lineOptions,
  targetOptions,
} from '../cli/common-options.ts';
import { LEAST_LINE_BYTES } from '../fleet/crowd.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { differenceOf } from '../fleet/messages.ts';
import { harnessProblems } from '../harness-verdict.ts';
import { Site } from '../site.ts';
import { said } from './connect.ts';
import { LineTraffic, sendsOf } from './line-traffic.ts';
import { scenario } from './scenario.ts';

/** How often a device that floods may see how many replies it has. */
const LOOK_MS = 20;
const MEMORY_LOOK_MS = 100;

const options = {
  ...establishedOptions,
  flood: { kind: 'duration', default: 10, min: 1, help: 'How long the one device floods.' },
  floodBytes: {
    kind: 'count',
    default: 64,
    min: LEAST_LINE_BYTES,
    unit: 'bytes',
    help: 'Length of its lines, their end included.',
  },
  ahead: {
    kind: 'count',
    default: 1_000,
    min: 1,
    help: 'So many of its lines at most are not answered: kernels hold some hundred thousand more than the gateway reads.',
  },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

export const flood = scenario({
  name: 'flood',
  summary: 'one device that sends as much as it can, and what the others notice',
  description: `An established population with steady echo traffic; then one more device sends without a pause; then no longer. What
counts: how much longer the round trips of the others take, and the memory of the target. Without the limits
of the gateway: --gateway OWSLA_ENDPOINT_MAX_FRAMES_PER_SECOND=0 --gateway OWSLA_ENDPOINT_MAX_BYTES_PER_SECOND=0.`,
  options,
  async run(run, options) {
    const { measured } = run;
    const site = await Site.prepare(run, options);
    const target = await site.startTarget(options.devices + 1);
    const traffic = await LineTraffic.start(run, site, target, options, options);
    const flooding = await site.startFleet(target, { connections: 1, speaks: true, processes: 1 });
    traffic.join(flooding);
    await flooding.connect(1, { concurrency: 1 });
    const { open, failed } = flooding.counters;
    if (open < 1) throw new Error(`the device that is to flood did not connect: ${said(failed)}`);
    await traffic.send(options.rate);
    await delay(options.warmup * 1_000);
    run.say(`quiet for ${options.quiet} s`);
    await traffic.fleet.phase('quiet');
    await delay(options.quiet * 1_000);

    run.say(`one device floods for ${options.flood} s`);
    await traffic.fleet.phase('flood');
    const harness = new HarnessMeter(traffic.harnessMeters());
    const memory = () => traffic.meter.read().rssBytes;
    const [countersBefore, memoryBefore, fromS] = [traffic.fleet.counters, memory(), run.second];
    let mostMemory = memoryBefore;
    const watch = setInterval(() => {
      mostMemory = Math.max(mostMemory, memory());
    }, MEMORY_LOOK_MS);
    while (run.second < fromS + options.flood) {
      // The answer brings the counters up to date.
      await flooding.flood(options.floodBytes, flooding.counters.replies + options.ahead);
      await delay(LOOK_MS);
    }
    clearInterval(watch);
    await flooding.quiet();
    const { replies } = flooding.counters;
    const floodS = run.second - fromS;
    measured.spans.push({ name: 'flood', fromS, toS: run.second });
    const { busiestCpuShare } = harness.end();
    const during = differenceOf(traffic.fleet.counters, countersBefore);
    run.say('waiting for what is on its way');
    traffic.watch.end();
    await traffic.settle();

    const books = await traffic.fleet.phases();
    traffic.enterRoundTrips(books, ['quiet', 'flood']);
    const of = (phase: string) => books.get(phase) ?? new LatencyBook();
    for (const percentile of [50, 99]) {
      const ratio = of('flood').percentileMs('rtt', percentile) / of('quiet').percentileMs('rtt', percentile);
      measured.metric(`rtt.flood.p${percentile}.ratio`, '1', ratio, target.name, 'lower');
    }
    measured.metric('flood.rate', '1/s', replies / floodS, target.name);
    measured.metric('memory.grown', 'B', mostMemory - memoryBefore, target.name, 'lower');
    const sends = sendsOf(during, of('flood').percentileMs('lag.send', 99));
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    measured.metric('harness.lag.p99', 'ms', sends.lagP99Ms, 'harness');
    for (const problem of harnessProblems({ busiestCpuShare, schedules: { sends } }, options.maxLag * 1_000))
      measured.problem(problem);
    await traffic.holdAgainstBroker(await traffic.account());
  },
});
