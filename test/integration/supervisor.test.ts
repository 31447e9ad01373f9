import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { findOnPath } from '../../src/dev/find-on-path.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { processesLeft } from '../helpers/processes.ts';
import { Traffic } from '../helpers/traffic.ts';

const FATAL = 60;

describe('a worker that is killed', () => {
  test('again and again makes the supervisor give up, with one clear line', async () => {
    await using gateway = await GatewayProcess.start({
      workers: 2,
      env: { OWSLA_RESTART_MAX_RESTARTS: '2', OWSLA_RESTART_BACKOFF_MAX_MS: '100ms' },
    });
    await using traffic = await Traffic.start(gateway);
    let killed = 0;
    for (let kills = 0; kills < 3; kills++) {
      const { pid } = await eventually('a new worker', async () => {
        const [worker] = (await gateway.readiness()).workers;
        return worker!.ready && worker!.pid !== killed && worker;
      });
      killed = pid;
      process.kill(pid, 'SIGKILL');
    }
    expect(await within('exit', gateway.exited)).toEqual({ code: 1, signal: null });
    const fatal = gateway.log.filter((line) => line.level === FATAL);
    expect(fatal.map((line) => line.msg)).toEqual(['more than 2 worker exits within 60000 ms: giving up']);
    expect(gateway.stderr).toBe('');
    expect(await processesLeft([gateway.names.fromDevice])).toEqual([]);
    await eventually('all connections are gone', () => traffic.sessions.every(({ dropped }) => dropped));
    const { violations } = await traffic.settle();
    expect(violations).toEqual([]);
  });

  // The latter is the longest that there is.
  test.each(['30s', '2147483647ms'])(
    'once too often leaves the others the time to drain, also when SIGTERM comes (%s)',
    async (timeout) => {
      await using gateway = await GatewayProcess.start({
        workers: 2,
        env: { OWSLA_RESTART_MAX_RESTARTS: '0', OWSLA_SHUTDOWN_TIMEOUT_MS: timeout },
      });
      await using backend = await Backend.connect(gateway.names);
      // It never closes its side, so that its worker has to wait for it.
      const halfOpen = { allowHalfOpen: true };
      const socket = connect({ host: '127.0.0.1', port: gateway.port, ...halfOpen });
      using _stubborn = await Device.connect(gateway.port, { socket, ...halfOpen });
      const { node_id } = await backend.event('connection.opened', (e) => e.remote_port === socket.localPort);
      const [other] = [...(await gateway.workers())].filter(([node]) => node !== node_id);
      process.kill(other![1], 'SIGKILL');
      await gateway.logged('draining');
      gateway.signal('SIGTERM');
      expect(await within('exit', gateway.exited)).toEqual({ code: 1, signal: null });
      expect(gateway.log.filter(({ msg }) => msg === 'worker exited')).toMatchObject([{ signal: 'SIGKILL' }]);
      expect(gateway.log.at(-1)!.msg).toBe('stopped');
      expect(gateway.log.map(({ msg }) => msg)).toContain('draining already; a second signal stops at once');
    },
  );
});

test('a worker that hangs is not ready, which is said with its name, until it goes on', async () => {
  const env = { OWSLA_READINESS_INTERVAL_MS: '300ms' };
  await using gateway = await GatewayProcess.start({ workers: 2, env });
  const { workers } = await gateway.readiness();
  const [hanging] = workers;
  process.kill(hanging!.pid, 'SIGSTOP');
  const silent = { ...hanging, ready: false, reason: 'worker does not answer' };
  expect((await gateway.logged('not ready')).workers).toEqual([silent]);
  const readyz = await fetch(`${gateway.adminUrl}/readyz`);
  expect(readyz.status).toBe(503);
  expect(await readyz.json()).toEqual({ ready: false, workers: [silent, workers[1]] });
  expect(await gateway.metric('owsla_worker_ready')).toBe(1);

  const readyAgain = gateway.nextLogged(({ msg }) => msg === 'ready');
  process.kill(hanging!.pid, 'SIGCONT');
  await readyAgain;
  await eventually('the same workers as before are ready', async () => {
    const now = await gateway.readiness();
    return now.ready && now.workers.every(({ pid }, index) => pid === workers[index]!.pid);
  });
  expect(gateway.log.map(({ msg }) => msg)).not.toContain('worker exited');
  expect(await gateway.stop()).toBe(0);
});

test('a supervisor that is killed leaves no worker behind, and no line that they had read is lost', async () => {
  const DEVICES = 20;
  await using gateway = await GatewayProcess.start({ workers: 2 });
  await using backend = await Backend.connect(gateway.names);
  const audit = new LineAudit();
  await backend.consume((message) => audit.add(message));
  using fleet = await Fleet.connect(gateway.port, DEVICES);
  const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 5 }));
  await eventually('lines flow', () => audit.total > 500);

  process.kill(gateway.pid, 'SIGKILL');
  await within('the end of all connections', Promise.all(fleet.devices.map((device) => device.closed)));
  await Promise.all(streams.map((stream) => stream.stop()));
  expect(await processesLeft([gateway.names.fromDevice], 15_000)).toEqual([]);
  const ends = await eventually('the events of all ends', () => {
    const events = backend.events.filter((e) => e.event === 'connection.closed');
    return events.length === DEVICES && events;
  });
  expect(new Set(ends.map((end) => end.reason))).toEqual(new Set(['shutdown']));
  const read = Object.fromEntries(ends.map((end) => [end.connection_id as string, end.frames_received]));
  const readInAll = ends.reduce((sum, end) => sum + (end.frames_received as number), 0);
  await eventually('every line that was read', () => audit.total === readInAll);
  expect(audit.counts).toEqual(read);
  expect(audit.violations).toEqual([]);
});

describe('a port that another process has', () => {
  test.each([
    ['device', 'OWSLA_LISTEN_PORT', 'cannot listen on 127.0.0.1:'],
    ['admin', 'OWSLA_ADMIN_PORT', 'cannot serve the admin port 127.0.0.1:'],
  ])('ends the program with one clear line: the %s port', async (_, key, text) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    await using gateway = await GatewayProcess.spawn({ workers: 2, env: { [key]: String(port) } });
    expect(await within('exit', gateway.exited)).toEqual({ code: 1, signal: null });
    server.close();
    const fatal = gateway.log.filter((line) => line.level === FATAL);
    expect(fatal).toHaveLength(1);
    expect(fatal[0]!.msg).toContain(`${text}${port}`);
    expect(fatal[0]!.msg).toContain('EADDRINUSE');
    expect(gateway.log.map((line) => line.msg)).not.toContain('ready');
    expect(gateway.stderr).toBe('');
    expect(await processesLeft([gateway.names.fromDevice])).toEqual([]);
  });
});

describe('a signal that comes before the admin port is open', () => {
  const early = (signal: NodeJS.Signals) => {
    const code = `
      import cluster from 'node:cluster';
      import { Server } from 'node:net';
      const { listen } = Server.prototype;
      if (cluster.isPrimary) Server.prototype.listen = function (...args) {
        Server.prototype.listen = listen;
        process.kill(process.pid, '${signal}');
        const waiting = setInterval(() => {}, 1_000); // It is no reason for a process to live that it awaits a signal.
        process.once('${signal}', () => {
          clearInterval(waiting);
          listen.apply(this, args);
        });
        return this;
      };`;
    return { NODE_OPTIONS: `--import="data:text/javascript,${encodeURIComponent(code)}"` };
  };

  test.each(['SIGTERM', 'SIGINT'] as const)('ends the start in good order: %s', async (signal) => {
    const env = { ...early(signal), OWSLA_SHUTDOWN_NOT_READY_MS: '10m' };
    await using gateway = await GatewayProcess.spawn({ env });
    expect(await within('exit', gateway.exited)).toEqual({ code: 0, signal: null });
    expect(gateway.log.map(({ msg }) => msg)).toEqual(['draining', 'stopped']);
  });

  test('is a rolling restart once the workers have been started: SIGHUP', async () => {
    await using gateway = await GatewayProcess.start({ env: early('SIGHUP') });
    await gateway.logged('rolling restart complete', 90_000);
    expect(await gateway.stop()).toBe(0);
  });
});

describe('the admin port', () => {
  test('tells life, readiness and metrics, the latter summed over the workers', async () => {
    await using gateway = await GatewayProcess.start({ workers: 2 });
    await using backend = await Backend.connect(gateway.names);
    await backend.echo();

    const livez = await fetch(`${gateway.adminUrl}/livez`);
    expect(livez.status).toBe(200);
    expect(await livez.json()).toEqual({ live: true });
    const readyz = await fetch(`${gateway.adminUrl}/readyz`);
    expect(readyz.status).toBe(200);
    const worker = (index: number) => ({
      worker: index,
      pid: expect.any(Number),
      ready: true,
      reason: 'broker round trip works',
    });
    expect(await readyz.json()).toEqual({ ready: true, workers: [worker(0), worker(1)] });

    const devices = [...(await devicesOnBoth(gateway, backend)).values()].flat();
    expect(await gateway.metric('owsla_connections')).toBe(devices.length);
    expect(await gateway.metric('owsla_connections_opened_total')).toBe(devices.length);
    expect(await gateway.metric('owsla_frames_received_total')).toBe(devices.length);
    expect(await gateway.metric('owsla_broker_connected', { link: 'publish' })).toBe(2);
    expect(await gateway.metric('owsla_worker_ready')).toBe(2);
    expect(await gateway.metric('owsla_workers')).toBe(2);

    const metrics = await fetch(`${gateway.adminUrl}/metrics`);
    expect(metrics.status).toBe(200);
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await metrics.text();
    expectPrometheusText(text);
    if (findOnPath('promtool') !== undefined) expect(complaintsOfPromtool(text)).toEqual([]);
    for (const device of devices) device.socket.destroy();
    await eventually('no connection', async () => (await gateway.metric('owsla_connections')) === 0);
  });

  test('tells why a worker is not ready', async () => {
    await using gateway = await GatewayProcess.spawn({ amqpUrl: 'amqp://127.0.0.1:1' });
    await gateway.logged('broker connection failed, trying again');
    const readyz = await fetch(`${gateway.adminUrl}/readyz`);
    expect(readyz.status).toBe(503);
    expect(await readyz.json()).toEqual({
      ready: false,
      workers: [{ worker: 0, pid: expect.any(Number), ready: false, reason: 'connecting to the broker' }],
    });
    expect((await fetch(`${gateway.adminUrl}/livez`)).status).toBe(200);
    expect(await gateway.metric('owsla_worker_ready')).toBe(0);
    expect(await gateway.stop()).toBe(0);
  });
});

/** Connects devices until each of two workers has some, which the kernel decides; by node id. Each sends a line. */
async function devicesOnBoth(gateway: GatewayProcess, backend: Backend): Promise<Map<string, Device[]>> {
  const byNode = new Map<string, Device[]>();
  while (byNode.size < 2) {
    const devices = await Promise.all(Array.from({ length: 20 }, () => Device.connect(gateway.port)));
    for (const device of devices) {
      const port = device.socket.localPort;
      const { node_id } = await backend.event('connection.opened', (e) => e.remote_port === port);
      byNode.set(node_id as string, [...(byNode.get(node_id as string) ?? []), device]);
      await device.send('hello');
      await device.received(1);
    }
  }
  return byNode;
}

/** All but those about metrics of the runtime, whose names are not ours. */
function complaintsOfPromtool(text: string): string[] {
  const { stderr, error } = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  if (error !== undefined) throw error;
  return stderr.split('\n').filter((line) => line !== '' && !line.startsWith('nodejs_'));
}

/** Text format 0.0.4: each metric has one HELP and one TYPE before its samples, and every sample is a number. */
function expectPrometheusText(text: string): void {
  const described = new Map<string, string>();
  const types = new Map<string, string>();
  const samples = new Set<string>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      const known = kind === 'HELP' ? described : types;
      expect(known.has(name), `${kind} of ${name} comes twice`).toBe(false);
      known.set(name, rest);
      continue;
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)$/.exec(
        line,
      );
    expect(sample, `not a sample: ${line}`).not.toBeNull();
    const [, name, labels, value] = sample!;
    expect(Number.isNaN(Number(value)) && value !== 'Nan' && value !== '+Inf', line).toBe(false);
    const series = `${name}{${labels ?? ''}}`;
    expect(samples.has(series), `${series} comes twice`).toBe(false);
    samples.add(series);
    const family = types.has(name!) ? name! : name!.replace(/_(bucket|sum|count)$/, '');
    expect(types.get(family), `TYPE of ${name}`).toMatch(/^(counter|gauge|histogram|summary)$/);
    expect(described.get(family), `HELP of ${name}`).toMatch(/\w/);
    if (family.startsWith('owsla_') && types.get(family) === 'counter') expect(family).toMatch(/_total$/);
  }
  expect([...types.keys()].filter((name) => name.startsWith('owsla_')).length).toBeGreaterThan(20);
}
