import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { queueDepth } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

/** More than all consumers of the two workers may hold. */
const REPLIES = 6_000;

let broker: PrivateBroker;

beforeAll(async () => {
  broker = await PrivateBroker.start();
});
afterAll(async () => {
  await broker?.[Symbol.asyncDispose]();
});

const alarms = {
  memory: {
    raise: () => broker.ctl('set_vm_memory_high_watermark', '0.00001'),
    clear: () => broker.ctl('set_vm_memory_high_watermark', '0.4'),
  },
  disk: {
    raise: () => broker.ctl('set_disk_free_limit', '100000GB'),
    clear: () => broker.ctl('set_disk_free_limit', '50MB'),
  },
};

/**
 * In an alarm nobody can publish, backends neither. So the queues are filled before: what the broker sends to the
 * workers' consumers is held back on the way while the backend answers lines that have piled up, until the workers
 * know of the alarm.
 */
test.each([
  ['memory', 'inbox', 'classic'],
  ['memory', 'shared', 'classic'],
  ['memory', 'shared', 'quorum'],
  ['disk', 'inbox', 'quorum'],
] as const)(
  'a %s alarm under load: replies in the queues reach their devices all the same (%s, %s queues)',
  async (alarm, replies, queueType) => {
    await using tap = await AmqpTap.start(broker.url);
    await using gateway = await GatewayProcess.start({
      amqpUrl: tap.url,
      workers: 2,
      env: {
        OWSLA_AMQP_QUEUE_TYPE: queueType,
        // Connections that are held still must not be given up.
        OWSLA_AMQP_HEARTBEAT_SECONDS: '30',
      },
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], replies });
    const { backend, ledger } = traffic;
    await traffic.flows();

    await backend.pause();
    traffic.pace(100);
    await eventually(
      'lines pile up',
      async () => (await queueDepth(gateway.names.fromDevice, broker.url))! >= REPLIES,
    );
    traffic.pace(500);
    tap.hold(' consume');
    backend.resume();
    await eventually(
      'the queues are full of replies',
      () => backend.answered === ledger.taken && ledger.openReplies(traffic.sessions) >= REPLIES,
    );
    await alarms[alarm].raise();
    try {
      for (const worker of [0, 1])
        await gateway.logged((line) => line.msg === 'broker blocks publishing' && line.worker === worker);
      // Lines that the broker had taken before are still on their way to the backend.
      let { taken } = ledger;
      await eventually('the last line is taken', async () => {
        const before = taken;
        await delay(1_000);
        taken = ledger.taken;
        return taken === before;
      });
      tap.release(' consume');
      // Of the shared queue, a few may be with a worker that can only hand them on once the alarm is over.
      const left = replies === 'shared' ? REPLIES / 10 : 0;
      await eventually('these replies arrive', () => ledger.openReplies(traffic.sessions) <= left);
      expect(ledger.taken).toBe(taken);
      expect((await gateway.readiness()).ready).toBe(false);
    } finally {
      await alarms[alarm].clear();
    }
    await eventually('ready again', async () => (await gateway.readiness()).ready);
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report.replies.undelivered).toEqual({});
    expect(traffic.drops).toBe(0);
  },
);
