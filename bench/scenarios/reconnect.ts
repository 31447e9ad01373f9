import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import {
  backendOptions,
  fleetOptions,
  lineOptions,
  retryOptions,
  targetOptions,
} from '../cli/common-options.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { harnessProblems } from '../harness-verdict.ts';
import { Site } from '../site.ts';
import { until } from '../until.ts';
import { LineTraffic, sendsOf } from './line-traffic.ts';
import { scenario } from './scenario.ts';

const options = {
  devices: { kind: 'count', default: 500, min: 1, help: 'Devices that are connected when the gateway goes.' },
  rate: { kind: 'number', default: 200, min: 1, unit: 'lines/s', help: 'Their echo traffic, open loop.' },
  how: {
    kind: 'choice',
    choices: ['stop', 'kill'],
    default: 'stop',
    help: 'The gateway is asked to stop and drains, or is killed.',
  },
  quiet: { kind: 'duration', default: 5, min: 1, help: 'Traffic that is measured before and after.' },
  timeout: { kind: 'duration', default: 120, min: 1, help: 'How long it may take until all are back.' },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
  ...retryOptions,
} as const;

export const reconnect = scenario({
  name: 'reconnect',
  summary: 'the gateway is restarted with devices connected',
  description: `Restarts the gateway under echo traffic and waits until every device is connected again. Outage is the time of
one device from its loss to its next connection. Lines that were due while their device was away are counted as
missed, not as slow. A gateway that is asked to stop has to end with code 0.`,
  options,
  async run(run, options) {
    const site = await Site.prepare(run, options);
    const gateway = await site.startGateway(options.devices);
    const traffic = await LineTraffic.start(run, site, gateway, options, options);
    const { fleet } = traffic;
    await traffic.send(options.rate);
    await delay(options.warmup * 1_000);
    await fleet.phase('quiet');
    await delay(options.quiet * 1_000);

    run.say(options.how === 'stop' ? 'stopping the gateway' : 'killing the gateway');
    await fleet.phase('outage');
    const beganS = run.second;
    const harness = new HarnessMeter(traffic.harnessMeters());
    const stopProblem = options.how === 'stop' ? await gateway.stop() : undefined;
    if (options.how === 'kill') await gateway.kill();
    const downS = run.second;
    run.say('starting it again');
    await gateway.start();
    const readyS = run.second;
    const connected = async () => {
      await fleet.setRetry(site.retry);
      return fleet.counters.open === options.devices;
    };
    const allBack = await until(connected, options.timeout * 1_000);
    const backS = run.second;
    const { busiestCpuShare } = harness.end();
    await fleet.phase('after');
    await delay(options.quiet * 1_000);
    traffic.watch.end();
    await traffic.settle();

    const { measured } = run;
    const { name } = gateway;
    measured.metric('reconnect.stopping', 's', downS - beganS, name, 'lower');
    measured.metric('reconnect.starting', 's', readyS - downS, name, 'lower');
    measured.metric('reconnect.afterReady', 's', Math.max(0, backS - readyS), name, 'lower');
    measured.metric('reconnect.time', 's', backS - beganS, name, 'lower');
    const rates = traffic.watch.points
      .filter(({ second }) => second > beganS)
      .map(({ connectsPerS }) => connectsPerS);
    measured.metric('reconnect.peakRate', '1/s', Math.max(0, ...rates), name);
    if (stopProblem !== undefined) measured.problem(stopProblem);
    if (!allBack) {
      const { open } = fleet.counters;
      measured.problem(`${options.devices - open} devices were not back after ${options.timeout} s`);
    }
    const books = await fleet.phases();
    const all = LatencyBook.sum(books.values());
    measured.latency('outage', all, 'recovery', name);
    traffic.enterRoundTrips(books, ['quiet', 'outage', 'after']);
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    const lagP99Ms = all.percentileMs('lag.send', 99);
    measured.metric('harness.lag.p99', 'ms', lagP99Ms, 'harness');
    const sends = sendsOf(fleet.counters, lagP99Ms);
    for (const problem of harnessProblems({ busiestCpuShare, schedules: { sends } }, options.maxLag * 1_000))
      measured.problem(problem);
    await traffic.account(true);
  },
});
