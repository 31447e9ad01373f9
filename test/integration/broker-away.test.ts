import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { processorTimeMs, residentBytes } from '../helpers/processes.ts';
import { metadataWritten } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

const LINE_BYTES = 4_000;
/** Sent while the broker is away: 64 MB, of which the windows hold 3. */
const LINES_MEANWHILE = 16_000;
const GROWTH_BYTES = 24 * 1_048_576;
/** Of each worker. */
const WINDOW_MESSAGES = 400;
const LINKS = 6;
const RECONNECT_MIN_MS = 200;
/** How long the broker stays away with all devices paused, over and above what comes before that and after. */
const MEASURED_MS = Number(process.env.TEST_OUTAGE_MS ?? 5_000);
const TOO_MANY_ATTEMPTS = 32 + (MEASURED_MS - 5_000) / 500;

test(
  'a broker that stays away: memory and processor time are bounded, and nothing is lost',
  async () => {
    await using broker = await PrivateBroker.start();
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      workers: 2,
      env: {
        OWSLA_AMQP_QUEUE_TYPE: 'quorum',
        OWSLA_AMQP_WINDOW_MESSAGES: String(WINDOW_MESSAGES),
        OWSLA_AMQP_RECONNECT_MIN_MS: String(RECONNECT_MIN_MS),
        OWSLA_AMQP_RECONNECT_MAX_MS: '3s',
      },
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], lineBytes: LINE_BYTES });
    await traffic.flows();
    const workers = (await gateway.readiness()).workers.map(({ pid }) => pid);
    const residentBefore = workers.map(residentBytes);

    await metadataWritten();
    await broker.kill();
    const sentBefore = traffic.sent;
    traffic.pace(50);
    const metric = (name: string) => gateway.metric(`owsla_${name}`);
    await eventually(
      'the windows are full, and devices are paused',
      async () =>
        (await metric('unconfirmed_frames')) >= 2 * WINDOW_MESSAGES &&
        (await metric('connections_paused')) > 0,
    );
    await eventually('devices go on sending', () => traffic.sent > sentBefore + LINES_MEANWHILE);
    traffic.pace(500);
    await eventually('all devices are paused', async () => (await metric('connections_paused')) === 200);
    const usedBefore = workers.map(processorTimeMs);
    await delay(MEASURED_MS); // A period to measure over, not one to wait for something.
    for (const [n, pid] of workers.entries()) {
      expect(processorTimeMs(pid) - usedBefore[n]!).toBeLessThan(MEASURED_MS * 0.15);
      expect(residentBytes(pid) - residentBefore[n]!).toBeLessThan(GROWTH_BYTES);
    }
    expect(await metric('unconfirmed_frames')).toBe(2 * WINDOW_MESSAGES);
    expect(await metric('connections')).toBe(200);
    expect((await gateway.readiness()).ready).toBe(false);

    const waits = (attempt: number) =>
      gateway.log.filter((line) => line.attempt === attempt).map((line) => line.retryInMs as number);
    await eventually('each of the six connections has been tried often', () => waits(8).length === LINKS);
    // The loss of the connection was the first.
    expect(Math.max(...waits(2))).toBeLessThanOrEqual(2 * RECONNECT_MIN_MS);
    expect(Math.max(...waits(8))).toBeGreaterThan(2 * RECONNECT_MIN_MS);
    expect(waits(TOO_MANY_ATTEMPTS)).toEqual([]);

    await broker.start();
    await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report.replies.undelivered).toEqual({});
    expect(traffic.drops).toBe(0);
  },
  120_000 + MEASURED_MS,
);
