import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic } from '../helpers/traffic.ts';

const HOUR_MS = 3_600_000;

it('a wall clock that jumps ahead and back disturbs nobody; expires_at alone goes by it', async () => {
  const fates: string[] = [];
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: {
      NODE_OPTIONS: `--import=${join(import.meta.dirname, '../helpers/movable-clock.mjs')}`,
      TEST_CLOCK_OFFSETS_MS: [HOUR_MS, 0, -HOUR_MS, 0].join(),
      // Far shorter than the jumps, and far longer than a pause of the fleet or the broker.
      OWSLA_ENDPOINT_IDLE_TIMEOUT_MS: '5m',
      OWSLA_REPLY_GAP_TIMEOUT_MS: '2m',
    },
  });
  await using traffic = await Traffic.start(gateway, {
    strayUndelivered: ({ content, properties }) => {
      if (String(content) !== 'half an hour') return false;
      fates.push(properties.headers!.reason);
      return true;
    },
  });
  await using publisher = await Publisher.connect();
  await traffic.flows();
  const workers = await gateway.workers();
  const pids = [gateway.pid, ...workers.values()];
  let jumps = 0;
  const jump = async () => {
    for (const pid of pids) process.kill(pid, 'SIGUSR2');
    jumps++;
    const moved = () => gateway.stderr.split('clock moved\n').length - 1;
    await eventually('all clocks have moved', () => moved() === jumps * pids.length);
  };

  await jump();
  // A reply that is good for half an hour is worth nothing to each worker, once its clock is an hour ahead.
  const inHalfAnHour = Date.now() + HOUR_MS / 2;
  const byNode = traffic.devicesByNode();
  for (const [{ current }] of byNode.values() as Iterable<[(typeof traffic.devices)[number]]>) {
    const headers = {
      connection_id: traffic.ledger.connectionIdOf(current.session),
      expires_at: { '!': 'int64', value: inHalfAnHour },
    };
    publisher.publish(gateway.names.toDevice, 'half an hour', { headers });
  }
  await eventually('both have expired', () => fates.length === byNode.size);
  expect(fates).toEqual(['expired', 'expired']);
  await traffic.flows(1_000);
  while (jumps < 4) {
    await jump();
    await traffic.flows(1_000);
  }

  expect(await gateway.workers()).toEqual(workers);
  expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length);
  expect(await gateway.metric('owsla_connections_closed_total')).toBe(0);
  expect(await gateway.metric('owsla_reply_gaps_total')).toBe(0);
  const trouble = gateway.log.filter(({ level, msg }) => level >= WARN || msg === 'not ready');
  expect(trouble).toEqual([]);
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, marked: 0 }, replies: { lost: 0, undelivered: {} } });
  expect(traffic.drops).toBe(0);
});

/** pino's number for it. */
const WARN = 40;

it('a worker that was held up for longer than a timeout closes nobody who has written meanwhile', async () => {
  const IDLE_MS = 2_000;
  await using gateway = await GatewayProcess.start({
    env: {
      OWSLA_ENDPOINT_IDLE_TIMEOUT_MS: String(IDLE_MS),
      OWSLA_ENDPOINT_FIRST_FRAME_TIMEOUT_MS: String(IDLE_MS),
    },
  });
  using fleet = await Fleet.connect(gateway.port, 20);
  const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 50 }));
  const [pid] = [...(await gateway.workers()).values()];
  await eventually('lines flow', async () => (await gateway.metric('owsla_frames_received_total')) > 100);
  using newcomer = await Device.connect(gateway.port);
  process.kill(pid!, 'SIGSTOP');
  await newcomer.send('hello');
  await delay(2 * IDLE_MS); // It is the time that is the subject.
  process.kill(pid!, 'SIGCONT');
  const sent = streams.reduce((sum, stream) => sum + stream.sent, 1);
  await eventually('all is read', async () => (await gateway.metric('owsla_frames_received_total')) >= sent);
  expect(await gateway.metric('owsla_connections_closed_total')).toBe(0);
  await Promise.all(streams.map((stream) => stream.stop()));
});
