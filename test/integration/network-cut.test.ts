import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess, type LogLine } from '../helpers/gateway-process.ts';
import { NetworkNamespace } from '../helpers/network-namespace.ts';
import { Traffic } from '../helpers/traffic.ts';

const HEARTBEAT_SECONDS = 4;
/** Heartbeats. What is beyond two is for a slow machine. */
const DETECTED_WITHIN = 2.5;
const LINKS = ['consume', 'forward', 'publish'];

it.runIf(NetworkNamespace.isAllowed).each(['classic', 'quorum'])(
  'a network that swallows everything between gateway and broker is noticed by heartbeat, and nothing is lost (%s)',
  async (queueType) => {
    await using namespace = await NetworkNamespace.create();
    const [toDevices, toBroker] = [await namespace.addLink(), await namespace.addLink()];
    const port = await freePort();
    await using broker = await PrivateBroker.start({
      conf: { 'listeners.tcp.2': `${toBroker.outer}:${port}`, loopback_users: 'none' },
    });
    await using gateway = await GatewayProcess.start({
      amqpUrl: `amqp://guest:guest@${toBroker.outer}:${port}`,
      workers: 2,
      wrapper: namespace.wrapper,
      host: toDevices.inner,
      env: {
        OWSLA_AMQP_QUEUE_TYPE: queueType,
        OWSLA_AMQP_HEARTBEAT_SECONDS: String(HEARTBEAT_SECONDS),
        OWSLA_AMQP_RECONNECT_MAX_MS: '500ms',
        OWSLA_AMQP_CONNECT_TIMEOUT_MS: '2s',
      },
    });
    const toTheBroker = () => socketsTo(gateway.pid, port);
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
    await traffic.flows();
    const oneSocketEach = () => toTheBroker() === 2 * LINKS.length;
    await eventually('one socket a link', oneSocketEach);

    const losses: { line: LogLine; atMs: number }[] = [];
    const allLost = gateway.nextLogged(
      (line) =>
        line.msg === 'broker connection lost' &&
        losses.push({ line, atMs: performance.now() }) === 2 * LINKS.length,
    );
    await toBroker.cut();
    const cutAtMs = performance.now();
    await allLost;
    for (const { line, atMs } of losses) {
      expect(line.reason).toBe(`nothing from the broker for two heartbeats of ${HEARTBEAT_SECONDS} s`);
      expect(atMs - cutAtMs).toBeLessThan(DETECTED_WITHIN * HEARTBEAT_SECONDS * 1_000);
    }
    expect(losses.map(({ line }) => line.link).sort()).toEqual([...LINKS, ...LINKS].sort());
    await eventually('no socket of a lost link', () => toTheBroker() === 0);
    expect(await gateway.readiness()).toMatchObject({ ready: false });
    expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length);

    await toBroker.heal();
    await eventually('ready again', async () => (await gateway.readiness()).ready, 60_000);
    await traffic.flows();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
    expect(report.replies.undelivered).toEqual({});
    expect(traffic.drops).toBe(0);
    // None is left over from the attempts that were made meanwhile.
    await eventually('one socket a link', oneSocketEach);
  },
);

/** Sockets to a remote port that a process of its network namespace holds, but for those that are only connecting. */
function socketsTo(pid: number, remotePort: number): number {
  const port = `:${remotePort.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync(`/proc/${pid}/net/tcp`, 'latin1').split('\n').slice(1);
  return rows.filter((row) => {
    const [, , remote, state, , , , , , inode] = row.trim().split(/\s+/);
    // One that was closed, and whose last bytes the kernel alone still tries to deliver, has no inode.
    return remote?.endsWith(port) && state !== SYN_SENT && inode !== '0';
  }).length;
}

const SYN_SENT = '02';
