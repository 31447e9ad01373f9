import { setTimeout as delay } from 'node:timers/promises';
import {
  backendOptions,
  establishedOptions,
  fleetOptions,
  lineOptions,
  targetOptions,
} from '../cli/common-options.ts';
import { LatencyBook } from '../fleet/latency-book.ts';
import { total } from '../fleet/messages.ts';
import { Site } from '../site.ts';
import { until } from '../until.ts';
import { said } from './connect.ts';
import { LineTraffic } from './line-traffic.ts';
import { scenario } from './scenario.ts';

const options = {
  ...establishedOptions,
  sockets: { kind: 'count', default: 20_000, min: 1, help: 'Clients that send a byte a second.' },
  socketRate: {
    kind: 'number',
    default: 4_000,
    min: 1,
    unit: 'connects/s',
    help: 'How fast they connect.',
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
honest devices that connect among them; then the slow ones go. What counts: no honest device fails, no line is
lost, and the target's descriptors return to what they were.`,
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
    await run.end(slow);
    await traffic.fleet.phase('after');
    await fleet.quiet();
    const { established, failed, lost } = fleet.counters;
    const handshakes = LatencyBook.sum((await fleet.phases()).values());
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
    measured.latency('handshake.newcomers', handshakes, 'handshake', target.name);
    if (total(failed) > 0) measured.problem(`newcomers failed: ${said(failed)}`);
    if (total(lost) > 0) measured.problem(`newcomers were cut off: ${said(lost)}`);
    if (descriptors() > before)
      measured.problem(`${descriptors() - before} descriptors were left after ${options.calm} s`);
    traffic.enterRoundTrips(await traffic.fleet.phases(), ['quiet', 'flood', 'after']);
    traffic.watch.end();
    await traffic.settle();
    const gone = traffic.fleet.counters.lost;
    if (total(gone) > 0) measured.problem(`established connections were lost: ${said(gone)}`);
    await traffic.holdAgainstBroker(await traffic.account());
  },
});
