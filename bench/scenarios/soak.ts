import { slopeOf } from '../accounting/slope.ts';
import { backendOptions, fleetOptions, lineOptions, targetOptions } from '../cli/common-options.ts';
import { Site } from '../site.ts';
import { measureEcho } from './echo.ts';
import { LineTraffic } from './line-traffic.ts';
import { scenario } from './scenario.ts';

/** Share of the run in which memory still finds its level. */
const SETTLING = 0.25;
const HOUR_S = 3_600;

const options = {
  devices: { kind: 'count', default: 500, min: 1, help: 'Devices that are connected and send in turn.' },
  rate: { kind: 'number', default: 1_000, min: 0.1, unit: 'lines/s', help: 'Lines a second, open loop.' },
  duration: { kind: 'duration', default: HOUR_S, min: 0.1, help: 'Length of the run.' },
  ...lineOptions,
  ...backendOptions,
  ...targetOptions,
  ...fleetOptions,
} as const;

export const soak = scenario({
  name: 'soak',
  summary: 'echo for long: does memory grow, are descriptors left behind',
  description: `Echo for a long time. The slope of memory is that of a line through its last three quarters; over a short run it
says little, since garbage collection moves it more than a leak would.`,
  options,
  async run(run, options) {
    const site = await Site.prepare(run, options);
    const target = await site.startTarget(options.devices);
    const traffic = await LineTraffic.start(run, site, target, options, options);
    const descriptorsBefore = traffic.meter.read().descriptors;
    const fromS = run.second + options.warmup + options.duration * SETTLING;
    const toS = run.second + options.warmup + options.duration;
    await measureEcho(run, site, traffic, options);
    traffic.watch.end();

    const { measured } = run;
    const of = (name: string) =>
      run.sampler
        .series()
        .filter((series) => series.name === name && series.target === target.name)
        .flatMap(({ points }) => points)
        .filter(([second]) => second >= fromS && second <= toS);
    measured.metric('memory.slope', 'B/h', slopeOf(of('memory')) * HOUR_S, target.name, 'lower');
    measured.metric('memory.last', 'B', of('memory').at(-1)?.[1] ?? 0, target.name, 'lower');
    measured.metric('descriptors.slope', '{descriptor}/h', slopeOf(of('descriptors')) * HOUR_S, target.name);
    const left = traffic.meter.read().descriptors - descriptorsBefore;
    measured.metric('descriptors.grown', '{descriptor}', left, target.name, 'lower');
    await traffic.settle();
    await traffic.holdAgainstBroker(await traffic.account());
  },
});
