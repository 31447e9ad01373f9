import { setTimeout as delay } from 'node:timers/promises';
import { HarnessMeter } from '../accounting/harness-meter.ts';
import {
  backendOptions,
  establishedOptions,
  fleetOptions,
  lineOptions,
  targetOptions,
} from '../cli/common-options.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { differenceOf, total } from '../fleet/messages.ts';
import { harnessProblems } from '../harness-verdict.ts';
import { Site } from '../site.ts';
import { until } from '../until.ts';
import { said } from './connect.ts';
import { LineTraffic, sendsOf } from './line-traffic.ts';
import { scenario } from './scenario.ts';

/** Of the slow clients, how many have to be open at once: fewer would be another run than was asked for. */
const SLOW_REACHED = 0.99;

const options = {
  ...establishedOptions,
  sockets: { kind: 'count', default: 20_000, min: 1, help: 'Clients that send a byte a second.' },
  socketRate: {
    kind: 'number',
    default: 4_000,
    min: 1,
    unit: 'connects/s',
    help: 'How fast they connect; the gateway cuts each off after ten seconds (tls.handshakeTimeoutMs).',
  },
  newcomerRate: {
    kind: 'number',
    default: 5,
    min: 0.1,
    unit: 'connects/s',
    help: 'Honest devices that connect meanwhile.',
  },
  flood: { kind: 'duration', default: 20, min: 1, help: 'How long the slow clients are there.' },
  calm: { kind: 'duration', default: 30, min: 1, help: 'How long descriptors may take to come back.' },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

export const slowloris = scenario({
  name: 'slowloris',
  summary: 'thousands of clients that begin a handshake a byte at a time',
  description: `An established population with steady echo traffic; then clients that send one byte of a ClientHello a second, and
honest devices that connect among them; then the slow ones go. What counts: nearly all slow ones were open at once,
no honest device fails, no line is lost, and the target's descriptors return to what they were.`,
  options,
  async run(run, options) {
    const { measured } = run;
    const site = await Site.prepare(run, options);
    const newcomers = Math.max(1, Math.round(options.newcomerRate * options.flood));
    const target = await site.startTarget(options.devices + newcomers + options.sockets);
    const traffic = await LineTraffic.start(run, site, target, options, options);
    await traffic.send(options.rate);
    await delay(options.warmup * 1_000);
    const fleet = await site.startFleet(target, { connections: newcomers, speaks: false });
    run.say(`quiet for ${options.quiet} s`);
    await traffic.fleet.phase('quiet');
    await delay(options.quiet * 1_000);
    const descriptors = () => traffic.meter.read().descriptors;
    const before = descriptors();

    run.say(`${options.sockets} slow clients for ${options.flood} s`);
    await traffic.fleet.phase('flood');
    const slow = await site.startSlowSockets(target, {
      count: options.sockets,
      ratePerS: options.socketRate,
    });
    const harness = new HarnessMeter([...traffic.harnessMeters(), ...fleet.meters(), ...slow.meters()]);
    const countersBefore = traffic.fleet.counters;
    const fromS = run.second;
    let mostOpen = 0;
    let mostDescriptors = before;
    const watch = setInterval(() => {
      const { opened, open, ended } = slow.counts;
      run.progress.status('slow', `${open} open of ${opened}, ${ended} ended`);
      mostOpen = Math.max(mostOpen, open);
      mostDescriptors = Math.max(mostDescriptors, descriptors());
    }, 500);
    const connecting = fleet.connect(newcomers, { ratePerS: options.newcomerRate });
    await Promise.all([connecting, delay(options.flood * 1_000)]);
    clearInterval(watch);
    run.progress.status('slow', undefined);
    measured.spans.push({ name: 'flood', fromS, toS: run.second });
    const { busiestCpuShare } = harness.end();
    await run.end(slow);
    await traffic.fleet.phase('after');
    const during = differenceOf(traffic.fleet.counters, countersBefore);
    await fleet.quiet();
    const { established, failed, lost, connectsPlanned, connectsBegun } = fleet.counters;
    const newcomersBook = LatencyBook.sum((await fleet.phases()).values());
    await fleet.close();
    await run.end(fleet);
    const settledMs = performance.now();
    await until(async () => descriptors() <= before, options.calm * 1_000);

    const enter = (name: string, value: number, unit: string) =>
      measured.metric(name, unit, value, target.name);
    enter('slow.open.max', mostOpen, '{connection}');
    enter('newcomers.established', established, '{connection}');
    enter('newcomers.failed', total(failed), '{connection}');
    enter('descriptors.before', before, '{descriptor}');
    enter('descriptors.max', mostDescriptors, '{descriptor}');
    enter('descriptors.after', descriptors(), '{descriptor}');
    enter('descriptors.settled', performance.now() - settledMs, 'ms');
    measured.latency('handshake.newcomers', newcomersBook, 'handshake', target.name);
    if (mostOpen < options.sockets * SLOW_REACHED)
      measured.problem(
        `only ${mostOpen} of ${options.sockets} slow clients were open at once; expected were ${100 * SLOW_REACHED} % of them`,
      );
    if (total(failed) > 0) measured.problem(`newcomers failed: ${said(failed)}`);
    if (total(lost) > 0) measured.problem(`newcomers were cut off: ${said(lost)}`);
    if (descriptors() > before)
      measured.problem(`${descriptors() - before} descriptors were left after ${options.calm} s`);
    const books = await traffic.fleet.phases();
    traffic.enterRoundTrips(books, ['quiet', 'flood', 'after']);
    const sends = sendsOf(during, books.get('flood')?.percentileMs('lag.send', 99) ?? 0);
    const connects = {
      lagP99Ms: newcomersBook.percentileMs('lag.connect', 99),
      planned: connectsPlanned,
      done: connectsBegun,
    };
    measured.metric('harness.cpu.busiest', '%', 100 * busiestCpuShare, 'harness');
    measured.metric('harness.lag.connects.p99', 'ms', connects.lagP99Ms, 'harness');
    measured.metric('harness.lag.sends.p99', 'ms', sends.lagP99Ms, 'harness');
    const figures = { busiestCpuShare, schedules: { connects, sends } };
    for (const problem of harnessProblems(figures, options.maxLag * 1_000)) measured.problem(problem);
    traffic.watch.end();
    await traffic.settle();
    const gone = traffic.fleet.counters.lost;
    if (total(gone) > 0) measured.problem(`established connections were lost: ${said(gone)}`);
    await traffic.holdAgainstBroker(await traffic.account());
  },
});
