import { expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { metadataWritten, queueDepth } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

const DEVICES = 200;
const WORKERS = 2;
/** Of each device, in one record: the gateway has read all when it has read the first. */
const LINES = 5;
const DRAIN_MS = 2_000;

test.each([8_192, 100])(
  'SIGTERM while the broker is away: waits, then counts exactly what is unconfirmed (window of %i)',
  async (window) => {
    await using broker = await PrivateBroker.start();
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      workers: WORKERS,
      env: {
        OWSLA_AMQP_QUEUE_TYPE: 'quorum',
        OWSLA_AMQP_WINDOW_MESSAGES: String(window),
        OWSLA_SHUTDOWN_TIMEOUT_MS: `${DRAIN_MS}ms`,
        OWSLA_AMQP_RECONNECT_MAX_MS: '500ms',
      },
    });
    const metric = (name: string) => gateway.metric(`owsla_${name}`);
    await using traffic = await Traffic.start(gateway, {
      devices: DEVICES,
      amqpUrls: [broker.url],
      reconnect: false,
    });
    await traffic.flows();
    // What the broker had stored and not confirmed would be in its queue and in the count.
    traffic.pace(Number.POSITIVE_INFINITY);
    await eventually('all is confirmed', async () => {
      const [received, unconfirmed] = [
        await metric('frames_received_total'),
        await metric('unconfirmed_frames'),
      ];
      return received === traffic.sent && unconfirmed === 0;
    });
    await eventually('all is taken', () => traffic.ledger.taken === traffic.sent);
    await traffic.backend.pause();
    await metadataWritten();
    await broker.kill();
    for (const device of traffic.devices) device.send(LINES);
    const inWindows = Math.min(DEVICES * LINES, WORKERS * window);
    await eventually(
      'all lines are read',
      async () =>
        (await metric('unconfirmed_frames')) === inWindows &&
        (await metric('connections_paused')) === DEVICES - inWindows / LINES,
    );

    const stoppedAtMs = performance.now();
    expect(await gateway.stop()).toBe(1);
    expect(performance.now() - stoppedAtMs).toBeGreaterThan(DRAIN_MS);
    const counts = gateway.log.filter(
      (line) => line.unconfirmedFrames !== undefined && line.worker !== undefined,
    );
    expect(counts).toHaveLength(WORKERS);
    const stopped = await gateway.logged('stopped with frames that the broker has not confirmed');
    expect(stopped.unconfirmedFrames).toBe(DEVICES * LINES);
    await broker.start();
    traffic.backend.resume();
    await eventually(
      'the backend has taken what there is',
      async () => (await queueDepth(gateway.names.fromDevice, broker.url)) === 0,
    );
    const { lines, violations } = await traffic.settle();
    expect(violations).toEqual([]);
    expect(lines).toMatchObject({ unread: DEVICES * LINES, lost: 0, misordered: 0 });
    expect(counts.reduce((sum, line) => sum + Number(line.unconfirmedFrames), 0)).toBe(DEVICES * LINES);
  },
);
