import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import {
  backendOptions,
  fleetOptions,
  lineOptions,
  retryOptions,
  targetOptions,
} from '../cli/common-options.ts';
import { UsageError } from '../cli/option-table.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { harnessProblems } from '../harness-verdict.ts';
import { Site } from '../site.ts';
import type { GatewayTarget } from '../target/gateway.ts';
import { until } from '../until.ts';
import { LineTraffic, sendsOf } from './line-traffic.ts';
import { scenario } from './scenario.ts';

const FAULTS = ['broker-restart', 'broker-kill', 'worker-kill', 'rolling-restart'] as const;
type Fault = (typeof FAULTS)[number];

const WORKERS_TIMEOUT_MS = 180_000;

const options = {
  fault: {
    kind: 'list',
    shape: 'FAULT',
    choices: FAULTS,
    default: ['broker-restart', 'worker-kill', 'rolling-restart'],
    help: 'What is done, one after the other. A rolling restart is what SIGHUP makes the gateway do.',
  },
  devices: { kind: 'count', default: 200, min: 1, help: 'Devices that are connected and send in turn.' },
  rate: { kind: 'number', default: 500, min: 1, unit: 'lines/s', help: 'Lines a second, open loop.' },
  pause: { kind: 'duration', default: 5, min: 0.1, help: 'Traffic before each fault and after the last.' },
  timeout: { kind: 'duration', default: 60, min: 1, help: 'How long it may take to recover from one.' },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
  ...retryOptions,
  drain: { ...lineOptions.drain, default: 30 },
} as const;

export const faults = scenario({
  name: 'faults',
  summary: 'broker restarts, killed workers, rolling restarts under load, with the ledger',
  description: `Does harm under echo traffic and accounts for every line and reply. Recovered means: the gateway is ready, all
devices are connected, the backend takes lines again, and at most a second's lines more wait for a reply than when the
harm began, not counting those that the backend drops. What a device had written and the gateway had not read when
their connection ended is counted as unread; everything else must arrive.`,
  options,
  async run(run, options) {
    if (options.amqpUrl !== undefined && options.fault.some((fault) => fault.startsWith('broker')))
      throw new UsageError(
        '--amqp-url does not go with faults of the broker: the harness restarts only its own',
      );
    const site = await Site.prepare(run, options);
    const gateway = await site.startGateway(options.devices);
    const traffic = await LineTraffic.start(run, site, gateway, options, options);
    const { fleet, backend } = traffic;
    const { measured } = run;
    const harness = new HarnessMeter(traffic.harnessMeters());
    // Nobody waits on connections that have ended, but what was dropped on them is taken off all the same: with --drop,
    // a fault that ends many of them may count as recovered a little early.
    const waiting = () => fleet.counters.unanswered - backend.counters.dropped;
    await traffic.send(options.rate);
    await delay(options.warmup * 1_000);
    await fleet.phase('quiet');
    for (const fault of options.fault as readonly Fault[]) {
      await delay(options.pause * 1_000);
      run.say(fault);
      await fleet.phase(fault);
      const beganS = run.second;
      const waitingBefore = waiting();
      await doHarm(fault, site, gateway);
      const takenWhenHarmed = backend.counters.taken;
      const recovered = await until(async () => {
        await fleet.setRetry(site.retry);
        const moves = backend.counters.taken > takenWhenHarmed;
        const caughtUp = waiting() <= waitingBefore + options.rate;
        const allOpen = fleet.counters.open === options.devices;
        return allOpen && moves && caughtUp && (await gateway.isReady());
      }, options.timeout * 1_000);
      measured.metric(`fault.${fault}.recovery`, 's', run.second - beganS, gateway.name, 'lower');
      if (!recovered) measured.problem(`not recovered from ${fault} within ${options.timeout} s`);
      run.say(`recovered after ${(run.second - beganS).toFixed(1)} s`);
      await fleet.phase('recovered');
    }
    await delay(options.pause * 1_000);
    traffic.watch.end();
    const { busiestCpuShare } = harness.end();
    run.say('waiting for what is on its way');
    await traffic.settle();

    const books = await fleet.phases();
    const all = LatencyBook.sum(books.values());
    traffic.enterRoundTrips(books, ['quiet', ...new Set(options.fault), 'recovered']);
    measured.latency('outage', all, 'recovery', gateway.name);
    const lagP99Ms = all.percentileMs('lag.send', 99);
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    measured.metric('harness.lag.p99', 'ms', lagP99Ms, 'harness');
    const sends = sendsOf(fleet.counters, lagP99Ms);
    for (const problem of harnessProblems({ busiestCpuShare, schedules: { sends } }, options.maxLag * 1_000))
      measured.problem(problem);
    measured.note(`the backend lost its own connection to the broker ${backend.counters.reconnects} times`);
    await traffic.account(true);
  },
});

async function doHarm(fault: Fault, site: Site, gateway: GatewayTarget): Promise<void> {
  switch (fault) {
    case 'broker-restart':
      return await site.broker!.restart();
    case 'broker-kill':
      await site.broker!.kill();
      return await site.broker!.start();
    case 'worker-kill': {
      const [first] = gateway.workerPids();
      return await replaced(gateway, [first!], () => process.kill(first!, 'SIGKILL'));
    }
    case 'rolling-restart':
      return await replaced(gateway, gateway.workerPids(), () => gateway.signal('SIGHUP'));
  }
}

/** Does it; resolves when those workers are gone and there are as many again, all ready. */
async function replaced(gateway: GatewayTarget, pids: readonly number[], doIt: () => void): Promise<void> {
  const count = gateway.workerPids().length;
  doIt();
  const done = await until(async () => {
    const workers = gateway.workerPids();
    return (
      workers.length === count && !workers.some((pid) => pids.includes(pid)) && (await gateway.isReady())
    );
  }, WORKERS_TIMEOUT_MS);
  if (!done) throw new Error(`not all workers were replaced within ${WORKERS_TIMEOUT_MS / 1_000} s`);
}
