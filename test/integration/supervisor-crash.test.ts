import { expect, it, onTestFailed } from 'vitest';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { processesLeft, processesMentioning } from '../helpers/processes.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic } from '../helpers/traffic.ts';

it.each([
  ['supervisor', async (gateway: GatewayProcess) => [gateway.pid]],
  ['whole gateway', async (gateway: GatewayProcess) => [gateway.pid, ...(await gateway.workers()).values()]],
])(
  'a %s that is killed under load leaves no process behind, and the next one goes on',
  async (_, victims) => {
    const options = {
      workers: 2,
      // With nobody left to adopt an inbox, this is when its replies get their fate.
      env: { OWSLA_AMQP_INBOX_TTL_MS: '3s' },
    };
    await using gateway = await GatewayProcess.start(options);
    await using traffic = await Traffic.start(gateway);
    await using publisher = await Publisher.connect();
    await traffic.flows();
    const first = traffic.sessions;
    const workers = [...(await gateway.workers()).values()];
    onTestFailed(() => {
      const left = processesMentioning(gateway.names.fromDevice).map((line) => Number.parseInt(line, 10));
      for (const pid of workers) if (left.includes(pid)) process.kill(pid, 'SIGKILL');
    });

    for (const pid of await victims(gateway)) process.kill(pid, 'SIGKILL');
    await within('the end of all its processes', gateway.exited);
    expect(await processesLeft([gateway.names.fromDevice])).toEqual([]);
    await eventually('all connections are gone', () => first.every(({ dropped }) => dropped));
    // Replies to lines that were never sent, so that they are told from the answers.
    for (const { session, sent } of first) {
      const id = traffic.ledger.connectionIdOf(session)!;
      publisher.reply(gateway.inboxOf(id), id, sent, `${session} ${sent}`);
    }
    await publisher.flushed();

    const { names, port } = gateway;
    await using next = await GatewayProcess.start({ ...options, names, port });
    await eventually('all devices are back', () =>
      traffic.devices.every(({ current }) => current.received > 0),
    );
    await eventually('each of those replies is undelivered', () =>
      first.every(({ session, sent }) => traffic.ledger.isUndelivered(session, sent)),
    );
    await traffic.flows();
    // What the gateway had not read, and with its workers killed what was not confirmed, is all that is missing: a
    // line that is with the backend has all lines before it there too.
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
    expect(traffic.drops).toBe(traffic.devices.length);
    expect(await next.metric('owsla_connections')).toBe(traffic.devices.length);
  },
);
