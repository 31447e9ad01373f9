import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { LedgerReport } from '../../src/dev/ledger.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { Backend } from '../helpers/backend.ts';
import { eventually } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess, type LogLine } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { deleteQueue, queueDepth, recreateQueue } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

const CONSUMERS = 8;

const env = {
  OWSLA_AMQP_RECONNECT_MIN_MS: '50ms',
  OWSLA_AMQP_RECONNECT_MAX_MS: '500ms',
  // What was in a deleted queue leaves gaps.
  OWSLA_REPLY_GAP_TIMEOUT_MS: '3s',
};

const lostBecauseOf = (queue: string) => (line: LogLine) =>
  line.msg === 'broker channel lost' && String(line.reason).includes(queue);

/** Whatever else a ledger complains of. */
function othersThan(missing: RegExp, { violations }: LedgerReport): string[] {
  return violations.filter((violation) => !missing.test(violation));
}

describe('a queue that somebody deletes under load', () => {
  test.each(['classic', 'quorum'])(
    'from_device: declared anew; lost is what was in it, and no frame beyond that (%s queues)',
    async (queueType) => {
      await using gateway = await GatewayProcess.start({
        workers: 2,
        env: { ...env, OWSLA_AMQP_QUEUE_TYPE: queueType },
      });
      const { fromDevice } = gateway.names;
      await using traffic = await Traffic.start(gateway);
      await traffic.flows();
      await traffic.backend.pause();
      await eventually('lines pile up', async () => (await queueDepth(fromDevice))! > 400);
      const received = await gateway.metric('owsla_frames_received_total');
      const unconfirmed = await gateway.metric('owsla_unconfirmed_frames');
      const deleted = await deleteQueue(fromDevice);
      const underWay = (await gateway.metric('owsla_frames_received_total')) - received + unconfirmed;
      // RabbitMQ 3.10 may also close a connection that publishes to a quorum queue while that is deleted (541).
      const lost = await gateway.logged(
        (line) =>
          lostBecauseOf(fromDevice)(line) ||
          (queueType === 'quorum' && line.msg === 'broker connection lost' && line.link === 'publish'),
      );
      if (queueType === 'classic') {
        expect(lost.channel).toBe('producer');
        expect(lost.reason).toContain('deleted');
      }
      await eventually('declared anew', async () => (await queueDepth(fromDevice)) !== undefined);
      traffic.backend.resume();
      await eventually('ready', async () => (await gateway.readiness()).ready);
      await traffic.flows();
      const report = await traffic.settle({ withLosses: true });
      expect(othersThan(/^\S+: line \d+ of \d+ never came$/, report)).toEqual([]);
      expect(report.lines.lost).toBeGreaterThan(0);
      // The broker confirms what reaches a queue in the moment of its deletion.
      expect(report.lines.lost).toBeLessThanOrEqual(deleted + underWay);
      expect(report.replies.lost).toBe(0);
      expect(traffic.drops).toBe(0);
    },
  );

  test.each(['to_device', 'an inbox'])(
    '%s: the consumers come back, the log names it, and the lines do not suffer',
    async (which) => {
      await using gateway = await GatewayProcess.start({ workers: 2, env });
      const { toDevice, inboxPrefix } = gateway.names;
      const replies = which === 'to_device' ? 'shared' : 'inbox';
      await using traffic = await Traffic.start(gateway, { replies });
      const { backend, ledger } = traffic;
      const { node } = await gateway.logged((line) => line.msg === 'broker connected' && line.worker === 1);
      const queue = which === 'to_device' ? toDevice : `${inboxPrefix}${node}`;
      await traffic.flows();
      const { answered } = backend;
      const deleted = await deleteQueue(queue);
      const underWay = ledger.taken - answered;
      const lost = await gateway.logged(lostBecauseOf(queue));
      expect(lost.reason).toContain('deleted');
      expect(lost.channel).toMatch(which === 'to_device' ? /^consumer-\d$/ : /^inbox$/);
      await eventually('declared anew', async () => (await queueDepth(queue)) !== undefined);
      await eventually('ready', async () => (await gateway.readiness()).ready);
      await traffic.flows();
      const report = await traffic.settle({ withLosses: true });
      expect(othersThan(/^\S+: reply \d+ neither came nor is it undelivered$/, report)).toEqual([]);
      expect(report.lines.lost).toBe(0);
      expect(report.replies.lost).toBeLessThanOrEqual(deleted + underWay);
      expect(traffic.drops).toBe(0);
    },
  );
});

test.each(['to_device', 'an inbox'])(
  '%s, deleted and declared again in one breath: consumers that RabbitMQ has lost sight of start over',
  async (which) => {
    await using broker = await PrivateBroker.start();
    await using gateway = await GatewayProcess.start({
      amqpUrl: broker.url,
      workers: 2,
      env: {
        ...env,
        OWSLA_AMQP_QUEUE_TYPE: 'quorum',
        OWSLA_AMQP_HEARTBEAT_SECONDS: '2',
        // The consumers start over sooner than replies behind what they miss are given up.
        OWSLA_REPLY_GAP_TIMEOUT_MS: '30s',
      },
    });
    const { toDevice, inboxPrefix } = gateway.names;
    const { node } = await gateway.logged((line) => line.msg === 'broker connected' && line.worker === 1);
    const [queue, replies, consumers] =
      which === 'to_device'
        ? ([toDevice, 'shared', 2 * CONSUMERS] as const)
        : ([`${inboxPrefix}${node}`, 'inbox', 1] as const);
    const args = await argumentsOf(queue, broker);
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url], replies });
    const { backend, ledger } = traffic;
    const tellings = () => gateway.log.filter(lostBecauseOf(queue)).length;
    let atMostLost = 0;
    // The broker may also be quick enough to tell all of them; newer ones always do.
    const isQuietBroker = (await broker.ctl('version')).startsWith('3.');
    await eventually(
      'some consumers are not told',
      async () => {
        await eventually('ready', async () => (await gateway.readiness()).ready);
        await traffic.flows();
        const toldBefore = tellings();
        const { answered } = backend;
        const deleted = await recreateQueue(queue, args, broker.url);
        atMostLost += deleted + ledger.taken - answered;
        await delay(500);
        const someAreNotTold = () => tellings() - toldBefore < consumers;
        if (!someAreNotTold()) return !isQuietBroker;
        await traffic.flows();
        // They may also have been told late.
        return someAreNotTold();
      },
      120_000,
    );
    const report = await traffic.settle({ withLosses: true });
    expect(othersThan(/^\S+: reply \d+ neither came nor is it undelivered$/, report)).toEqual([]);
    expect(report.lines.lost).toBe(0);
    expect(report.replies.lost).toBeLessThanOrEqual(atMostLost);
    expect(report.replies.undelivered).toEqual({});
    expect(traffic.drops).toBe(0);
    await eventually('ready', async () => (await gateway.readiness()).ready);
    const toldBefore = tellings();
    await deleteQueue(queue, broker.url);
    await eventually('they are told again', () => tellings() > toldBefore);
  },
  240_000,
);

test.each(['classic', 'quorum'])(
  'from_device, deleted in a quiet moment: no line of those that follow is lost (%s queues)',
  async (queueType) => {
    const [DEVICES, LINES] = [200, 5];
    await using gateway = await GatewayProcess.start({
      workers: 2,
      env: { ...env, OWSLA_AMQP_QUEUE_TYPE: queueType },
    });
    const { fromDevice } = gateway.names;
    await using backend = await Backend.connect(gateway.names);
    using fleet = await Fleet.connect(gateway.port, DEVICES);
    const write = async (lines: readonly string[]) => {
      for (const device of fleet.devices) await device.write(lines.map((line) => `${line}\n`).join(''));
    };
    const allAreConfirmed = async (count: number) => {
      const metric = (name: string) => gateway.metric(`owsla_${name}`);
      await eventually(
        'all lines are read and confirmed',
        async () =>
          (await metric('frames_received_total')) === count && (await metric('unconfirmed_frames')) === 0,
      );
    };
    const lines = Array.from({ length: LINES }, (_, n) => `line ${n}`);
    // A channel that publishes for the first time sends one frame, and waits for its confirm.
    await write(lines.slice(0, 1));
    await allAreConfirmed(DEVICES);
    const audit = LineAudit.of(await backend.takeAll(fromDevice), { mayBeEarly: true });

    expect(await deleteQueue(fromDevice)).toBe(0);
    await write(lines.slice(1));
    await allAreConfirmed(DEVICES * LINES);
    for (const message of await backend.takeAll(fromDevice)) audit.add(message);
    expect(audit.violations).toEqual([]);
    const connections = Object.keys(audit.counts);
    expect(connections).toHaveLength(DEVICES);
    for (const id of connections) expect(audit.lines(id)).toEqual(lines);
    expect(await gateway.metric('owsla_frames_republished_total')).toBeGreaterThan(1);
    expect(gateway.log.filter(lostBecauseOf(fromDevice)).length).toBeGreaterThan(0);
  },
);

async function argumentsOf(queue: string, broker: PrivateBroker): Promise<Record<string, unknown>> {
  const all = JSON.parse(await broker.ctl('list_queues', 'name', 'arguments', '--formatter', 'json'));
  const found = all.find(({ name }: { name: string }) => name === queue);
  return Object.fromEntries(found.arguments.map(([key, , value]: [string, string, unknown]) => [key, value]));
}
