import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Publisher } from '../helpers/publisher.ts';
import { queueDepth } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

it.each(['inbox', 'shared'] as const)(
  'a worker that is killed under load takes only its own devices along, and gives replies their fate (%s queue)',
  async (replies) => {
    await using gateway = await GatewayProcess.start({
      workers: 2,
      // So long that only the successor of the worker can be what empties its inbox.
      env: { OWSLA_AMQP_QUEUE_TYPE: 'quorum', OWSLA_AMQP_INBOX_TTL_MS: '20m' },
    });
    await using traffic = await Traffic.start(gateway, { replies });
    await using publisher = await Publisher.connect();
    await traffic.flows();
    const [[victim, victimPid], [survivor, survivorPid]] = [...(await gateway.workers())] as [
      [string, number],
      [string, number],
    ];
    const byNode = traffic.devicesByNode();
    const [its, others] = [byNode.get(victim)!, byNode.get(survivor)!];
    expect(its.length + others.length).toBe(traffic.devices.length);
    const ended = its.map(({ current }) => current);
    const inbox = gateway.names.inboxPrefix + victim;
    const notReady = gateway.nextLogged((line) => line.msg === 'not ready');

    const opened = await gateway.metric('owsla_connections_opened_total');
    process.kill(victimPid, 'SIGKILL');
    await eventually('its connections are gone', () => ended.every(({ dropped }) => dropped));
    // Replies to lines that were never sent, so that they are told from the answers.
    const late = ended.map(({ session, sent }) => ({
      session,
      id: traffic.ledger.connectionIdOf(session)!,
      sent,
    }));
    for (const { session, id, sent } of late) {
      publisher.reply(inbox, id, sent, `${session} ${sent}`);
      publisher.reply(gateway.names.toDevice, id, sent + 1, `${session} ${sent + 1}`);
    }
    await publisher.flushed();
    await eventually('each of them is undelivered', () =>
      late.every(
        ({ session, sent }) =>
          traffic.ledger.isUndelivered(session, sent) && traffic.ledger.isUndelivered(session, sent + 1),
      ),
    );
    await notReady;
    await eventually('ready again', async () => (await gateway.readiness()).ready);
    await traffic.flows();

    const after = await gateway.workers();
    expect(after.get(survivor)).toBe(survivorPid);
    expect(after.has(victim)).toBe(false);
    expect(after.size).toBe(2);
    expect(await gateway.metric('owsla_worker_restarts_total')).toBe(1);
    // Counters go on from what the dead worker last told.
    expect(await gateway.metric('owsla_connections_opened_total')).toBe(opened + ended.length);
    expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length);
    expect(gateway.log.filter((line) => line.msg === 'worker exited')).toMatchObject([{ signal: 'SIGKILL' }]);
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
    expect(Object.keys(report.replies.undelivered)).toEqual(['not_connected']);
    expect(traffic.drops).toBe(its.length);
    expect(others.flatMap(({ sessions }) => sessions).filter(({ dropped }) => dropped)).toEqual([]);
    expect(await queueDepth(inbox)).toBe(0);
  },
);
