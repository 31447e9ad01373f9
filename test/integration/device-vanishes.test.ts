import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { connectFleet, type Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { type NetworkLink, NetworkNamespace } from '../helpers/network-namespace.ts';
import { openSockets } from '../helpers/open-descriptors.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic } from '../helpers/traffic.ts';

const VANISHING = 10;
/**
 * How often the kernel sends again what a peer does not acknowledge, before it gives up; meanwhile it sends no
 * keepalive probes. The default is a quarter of an hour's worth, the other about six seconds'.
 */
const PATIENT = 15;
const BRIEF = 4;

let namespace: NetworkNamespace;
/** The way of the devices that stay, and of the gateway to its broker. */
let steady: NetworkLink;
let broker: PrivateBroker;
let amqpUrl: string;

const start = (env: Record<string, string>) =>
  GatewayProcess.start({ amqpUrl, workers: 2, wrapper: namespace.wrapper, host: steady.inner, env });

/** Devices that are connected by a link of their own. */
async function devicesOn(link: NetworkLink, gateway: GatewayProcess): Promise<Device[]> {
  return await connectFleet(gateway.port, VANISHING, { host: link.inner });
}

async function socketsOf(gateway: GatewayProcess): Promise<number> {
  return [...(await gateway.workers()).values()].reduce((sum, pid) => sum + openSockets(pid), 0);
}

describe.runIf(NetworkNamespace.isAllowed)('devices that vanish without a FIN while others talk', () => {
  beforeAll(async () => {
    namespace = await NetworkNamespace.create();
    steady = await namespace.addLink();
    const port = await freePort();
    amqpUrl = `amqp://guest:guest@${steady.outer}:${port}`;
    broker = await PrivateBroker.start({
      conf: { 'listeners.tcp.2': `${steady.outer}:${port}`, loopback_users: 'none' },
    });
  });
  afterAll(async () => {
    await broker?.[Symbol.asyncDispose]();
    await namespace?.[Symbol.asyncDispose]();
  });

  const [idleTimeout, keepAlive] = ['OWSLA_ENDPOINT_IDLE_TIMEOUT_MS', 'OWSLA_ENDPOINT_KEEP_ALIVE_MS'];

  it.each([
    ['idle_timeout', false, PATIENT, { [idleTimeout]: '8s', [keepAlive]: '0' }],
    ['idle_timeout', true, PATIENT, { [idleTimeout]: '8s', [keepAlive]: '0' }],
    ['socket_error', false, BRIEF, { [idleTimeout]: '0', [keepAlive]: '1s' }],
    // The kernel probes nobody who owes it an acknowledgement, but gives up sending again.
    ['socket_error', true, BRIEF, { [idleTimeout]: '0', [keepAlive]: '1s' }],
  ])(
    'are closed as %s, and leave no descriptor (replies under way: %s)',
    async (reason, replies, retries, env) => {
      await namespace.sysctl('net.ipv4.tcp_retries2', retries);
      const link = await namespace.addLink();
      await using gateway = await start(env);
      await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
      await using publisher = await Publisher.connect(broker.url);
      const socketsBefore = await socketsOf(gateway);
      const vanishing = await devicesOn(link, gateway);
      await eventually(
        'the gateway has them all',
        async () => (await gateway.metric('owsla_connections')) === traffic.devices.length + VANISHING,
      );

      const audits = vanishing.map((device, n) => {
        const audit = traffic.guest(`vanishing${n}`);
        device.socket.write(`${audit.nextLine()}\n`);
        return audit;
      });
      await eventually('the backend knows them', () =>
        audits.every(({ session }) => traffic.ledger.publishedTo(session) === 1),
      );
      await link.cut();
      for (const audit of audits) audit.dropped = true;
      const reply = (n: number) => {
        for (const { session } of audits) {
          const id = traffic.ledger.connectionIdOf(session)!;
          publisher.reply(gateway.inboxOf(id), id, n, `${session} ${n}`);
        }
      };
      if (replies) reply(1);
      await eventually(
        'all of them are closed',
        async () => (await gateway.metric('owsla_connections_closed_total', { reason })) === VANISHING,
      );
      expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length);
      await eventually(
        'their descriptors are free',
        async () => (await socketsOf(gateway)) === socketsBefore,
      );
      reply(2);
      await eventually('a late reply is undelivered', () =>
        audits.every(({ session }) => traffic.ledger.isUndelivered(session, 2)),
      );
      await traffic.flows();
      const report = await traffic.settle();
      expect(report.violations).toEqual([]);
      expect(traffic.drops).toBe(0);
      for (const device of vanishing) device[Symbol.dispose]();
    },
  );

  it('leave no descriptor while nobody is read, because the broker confirms nothing', async () => {
    await namespace.sysctl('net.ipv4.tcp_retries2', BRIEF);
    const link = await namespace.addLink();
    await using gateway = await start({
      OWSLA_AMQP_WINDOW_MESSAGES: '50',
      // It is to be waited for, not given up.
      OWSLA_AMQP_HEARTBEAT_SECONDS: '60',
      OWSLA_ENDPOINT_KEEP_ALIVE_MS: '1s',
      OWSLA_ENDPOINT_PAUSED_PEER_CHECK_MS: '500ms',
    });
    await using traffic = await Traffic.start(gateway, { amqpUrls: [broker.url] });
    const socketsBefore = await socketsOf(gateway);
    const vanishing = await devicesOn(link, gateway);
    const paused = () => gateway.metric('owsla_connections_paused');
    const all = traffic.devices.length + VANISHING;

    process.kill(broker.pid, 'SIGSTOP');
    try {
      await eventually('the others are paused', async () => (await paused()) === traffic.devices.length);
      // More than Node takes before it stops reading from the kernel.
      for (const [n, device] of vanishing.entries()) {
        const audit = traffic.guest(`vanishing${n}`);
        for (let line = 0; line < 100; line++) device.socket.write(`${audit.nextLine(1_000)}\n`);
        audit.dropped = true;
      }
      await eventually('all are paused', async () => (await paused()) === all);
      await link.cut();
      await eventually(
        'their descriptors are free',
        async () => (await socketsOf(gateway)) === socketsBefore,
      );
      expect(await gateway.metric('owsla_unconfirmed_frames')).toBeLessThanOrEqual(2 * 50);
    } finally {
      process.kill(broker.pid, 'SIGCONT');
    }
    await traffic.flows();
    expect(await gateway.metric('owsla_connections')).toBe(traffic.devices.length);
    // Their last words wait in line before their end is complete.
    const closed = () => gateway.metric('owsla_connections_closed_total');
    await eventually('their ends are complete', async () => (await closed()) === VANISHING);
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(traffic.drops).toBe(0);
    for (const device of vanishing) device[Symbol.dispose]();
  });
});
