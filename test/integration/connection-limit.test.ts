import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Traffic } from '../helpers/traffic.ts';

/** Descriptors that a worker keeps back for itself. */
const RESERVED = 96;

const newcomers: Device[] = [];
afterEach(() => {
  for (const device of newcomers.splice(0)) device[Symbol.dispose]();
});

it.each([
  ['itself', {}],
  ['whatever is configured', { OWSLA_LISTEN_MAX_CONNECTIONS: '100000' }],
])('refuses what its limit of open files does not allow, keeps serving, and recovers: %s', async (_, env) => {
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env,
    // Room for the fleet even if one worker gets all of it.
    wrapper: ['prlimit', '--nofile=320'],
  });
  await using traffic = await Traffic.start(gateway);
  await traffic.flows();

  let refused = 0;
  while (refused < 50) {
    const attempts = Array.from({ length: 20 }, () => Device.connect(gateway.port));
    for (const attempt of await Promise.allSettled(attempts)) {
      if (attempt.status === 'fulfilled') newcomers.push(attempt.value);
      else refused++;
    }
  }
  const refusals = () => gateway.metric('owsla_connections_refused_total', { reason: 'max_connections' });
  expect(await refusals()).toBe(refused);
  const lines = gateway.log.filter((line) => line.msg === 'new connections are refused');
  // At most one from each worker, however many are refused.
  expect([1, 2]).toContain(lines.length);
  expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length + newcomers.length);
  await traffic.flows();

  await Promise.all(newcomers.map((device) => device.close()));
  await eventually(
    'they are gone',
    async () => (await gateway.metric('owsla_connections')) === traffic.devices.length,
  );
  for (let n = 0; n < 20; n++) newcomers.push(await Device.connect(gateway.port));
  expect(await refusals()).toBe(refused);
  await traffic.flows();
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(traffic.drops).toBe(0);
});

it.each([
  [3, 'closed unseen by the runtime'],
  [60, 'refused and counted, once the workers have noticed'],
])(
  'keeps serving when %i descriptors are left of those it was started with, and recovers: newcomers are %s',
  async (left) => {
    await using gateway = await GatewayProcess.start({ workers: 2 });
    await using traffic = await Traffic.start(gateway);
    await traffic.flows();
    const pids = [...(await gateway.workers()).values()];
    const allow = (pid: number, descriptors: number) =>
      execFileSync('prlimit', ['--pid', String(pid), `--nofile=${descriptors}:`]);
    const fewer = pids.map((pid) => {
      const descriptors = readdirSync(`/proc/${pid}/fd`).length + left;
      allow(pid, descriptors);
      return Math.max(1, descriptors - RESERVED);
    });
    const noticed = (maxConnections: readonly number[]) =>
      gateway.log
        .filter(({ msg }) => msg === 'the limit of open files has changed')
        .map((line) => line.maxConnections)
        .sort()
        .join() === [...maxConnections].sort().join();
    if (left > 3) await eventually('both notice', () => noticed(fewer));

    let refused = 0;
    for (let n = 0; n < 30; n++)
      await Device.connect(gateway.port).then(
        (device) => newcomers.push(device),
        () => refused++,
      );
    expect(refused).toBeGreaterThan(10);
    const counted = await gateway.metric('owsla_connections_refused_total', { reason: 'max_connections' });
    if (left > 3) expect(counted).toBe(refused);
    await traffic.flows();
    expect(await gateway.readiness()).toMatchObject({ ready: true });
    // With none left at all, a worker cannot tell.
    for (const device of newcomers.splice(0)) await device.close();
    await eventually('both have noticed', () => noticed(fewer));

    for (const pid of pids) allow(pid, 1_000);
    const more = pids.map(() => 1_000 - RESERVED);
    await eventually('both notice that there are more again', () => noticed([...fewer, ...more]));
    for (let n = 0; n < 20; n++) newcomers.push(await Device.connect(gateway.port));
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(traffic.drops).toBe(0);
  },
);
