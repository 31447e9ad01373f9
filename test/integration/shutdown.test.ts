import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { processesLeft } from '../helpers/processes.ts';
import { RawClient } from '../helpers/raw-client.ts';

describe('a shutdown under load', () => {
  const DEVICES = 50;

  test.each(['SIGTERM', 'SIGINT'] as const)('by %s loses no line and no reply', async (signal) => {
    await using gateway = await GatewayProcess.start({ workers: 2 });
    const { names } = gateway;
    await using backend = await Backend.connect(names);
    const audit = new LineAudit();
    const replies: string[] = [];
    await backend.consume((message) => {
      audit.add(message);
      const { headers, replyTo } = message.properties;
      const { connection_id, from_device_seq } = headers as {
        connection_id: string;
        from_device_seq: number;
      };
      const reply = `${connection_id} ${from_device_seq}`;
      replies.push(reply);
      // Half of them to the shared queue, half to the inbox.
      backend.reply(connection_id, reply, from_device_seq % 2 === 0 ? {} : { queue: replyTo });
    });
    using fleet = await Fleet.connect(gateway.port, DEVICES);
    const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 5 }));
    await eventually('lines flow', () => audit.total > 2_000);

    gateway.signal(signal);
    expect(await within('exit', gateway.exited)).toEqual({ code: 0, signal: null });
    expect(gateway.log.at(-1)!.msg).toBe('stopped');
    expect(gateway.stderr).toBe('');
    await within('the end of all connections', Promise.all(fleet.devices.map((device) => device.closed)));
    await Promise.all(streams.map((stream) => stream.stop()));

    const ends = await eventually('the events of all ends', () => {
      const events = backend.events.filter((e) => e.event === 'connection.closed');
      return events.length === DEVICES && events;
    });
    expect(new Set(ends.map((end) => end.reason))).toEqual(new Set(['shutdown']));
    const read = Object.fromEntries(
      ends.map((end) => [end.connection_id as string, end.frames_received as number]),
    );
    const readInAll = Object.values(read).reduce((sum, frames) => sum + frames, 0);
    await eventually('every line that was read', () => audit.total === readInAll);
    expect(audit.counts).toEqual(read);
    expect(audit.violations).toEqual([]);
    expect(audit.copies).toBe(0);

    // Each reply is with its device, or among the undelivered, or still waits in its queue.
    await backend.flushed();
    const nodes = await eventually('both nodes say that they are down', () => {
      const events = backend.events.filter((e) => e.event === 'node.down');
      return events.length === 2 && events.map((e) => e.node_id);
    });
    const queues = [names.toDevice, ...nodes.map((node) => `${names.inboxPrefix}${node}`)];
    const waiting = (await Promise.all(queues.map((queue) => backend.takeAll(queue)))).flat();
    const found = () => [
      ...fleet.devices.flatMap((device) => device.text),
      ...backend.undelivered.map((message) => String(message.content)),
      ...waiting.map((message) => String(message.content)),
    ];
    await eventually('every reply', () => found().length >= replies.length);
    expect(found().sort()).toEqual(replies.sort());
    expect(await processesLeft([names.fromDevice])).toEqual([]);
  });
});

describe('a shutdown', () => {
  test('is seen by the load balancer first, and takes no new connection while it drains', async () => {
    await using gateway = await GatewayProcess.start({ env: { OWSLA_SHUTDOWN_NOT_READY_MS: '3s' } });
    await using backend = await Backend.connect(gateway.names);
    await backend.echo();
    const readyz = () => fetch(`${gateway.adminUrl}/readyz`);
    expect((await readyz()).status).toBe(200);
    // It never closes its side, so that the drain has to wait for it.
    const halfOpen = { allowHalfOpen: true };
    const socket = connect({ host: '127.0.0.1', port: gateway.port, ...halfOpen });
    using stubborn = await Device.connect(gateway.port, { socket, ...halfOpen });
    await stubborn.send('one');
    await stubborn.received(1);

    gateway.signal('SIGTERM');
    await gateway.logged('draining');
    const answer = await readyz();
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ ready: false });
    using late = await Device.connect(gateway.port);
    await late.send('two');
    expect(await late.received(1)).toEqual(['two']);
    expect((await readyz()).status).toBe(503);
    using silent = await RawClient.connect(gateway.port);

    await within('close', late.closed);
    const error = await eventually('the listener refuses', async () => {
      try {
        (await RawClient.connect(gateway.port)).socket.destroy();
        return undefined;
      } catch (error) {
        return error;
      }
    });
    expect(error).toMatchObject({ code: 'ECONNREFUSED' });
    // It was the drain that refused: the process is still there.
    expect((await readyz()).status).toBe(503);
    expect((await fetch(`${gateway.adminUrl}/livez`)).status).toBe(200);
    expect(await within('exit', gateway.exited)).toEqual({ code: 0, signal: null });
    const ends = await eventually('the ends of all', () => {
      const events = backend.events.filter((e) => e.event === 'connection.closed');
      return events.length === 3 && events;
    });
    expect(ends.map((end) => end.reason)).toEqual(['shutdown', 'shutdown', 'shutdown']);
    expect(ends.find((end) => end.remote_port === silent.localPort)).toMatchObject({ established: false });
  });

  test('leaves no probe of its own behind, which would end among the undelivered replies', async () => {
    // There is hardly a moment without a probe under way.
    await using gateway = await GatewayProcess.start({
      workers: 4,
      env: { OWSLA_READINESS_INTERVAL_MS: '1' },
    });
    await using backend = await Backend.connect(gateway.names);
    expect(await gateway.stop()).toBe(0);
    const nodes = await eventually('all nodes say that they are down', () => {
      const events = backend.events.filter((e) => e.event === 'node.down');
      return events.length === 4 && events.map((e) => e.node_id);
    });
    for (const node of nodes) {
      expect(await backend.takeAll(`${gateway.names.inboxPrefix}${node}`)).toEqual([]);
    }
  });

  test('closes connections at the configured rate', async () => {
    const RATE = 10;
    const DEVICES = 15;
    const env = { OWSLA_SHUTDOWN_CLOSE_RATE: String(RATE) };
    await using gateway = await GatewayProcess.start({ env });
    await using backend = await Backend.connect(gateway.names);
    using _fleet = await Fleet.connect(gateway.port, DEVICES);
    expect(await gateway.stop()).toBe(0);
    const ends = await eventually('the events of all ends', () => {
      const events = backend.events.filter((e) => e.event === 'connection.closed');
      return events.length === DEVICES && events;
    });
    const times = ends.map((end) => Date.parse(end.at as string));
    // Half of it is left to jitter.
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan((((DEVICES - 1) / RATE) * 1_000) / 2);
  });

  test.each(['SIGTERM', 'SIGHUP'] as const)(
    'says that nobody knows what a worker left that crashed when it drained (%s)',
    async (signal) => {
      const crash = "process.on('SIGUSR2', () => process.exit(7));";
      await using gateway = await GatewayProcess.start({
        env: {
          NODE_OPTIONS: `--import="data:text/javascript,${encodeURIComponent(crash)}"`,
          OWSLA_SHUTDOWN_CLOSE_RATE: '1',
        },
      });
      using fleet = await Fleet.connect(gateway.port, 20);
      const [pid] = [...(await gateway.workers()).values()];
      gateway.signal(signal);
      await within('the first close', Promise.race(fleet.devices.map(({ closed }) => closed)));
      process.kill(pid!, 'SIGUSR2');
      expect(await gateway.logged('worker exited')).toMatchObject({ code: 7, signal: null });
      if (signal === 'SIGHUP') {
        await gateway.logged('rolling restart complete');
        gateway.signal('SIGTERM');
      }
      expect(await within('exit', gateway.exited)).toEqual({ code: 1, signal: null });
      expect(gateway.log.at(-1)).toMatchObject({
        workers: 1,
        msg: expect.stringContaining('did not say how many frames they left unconfirmed'),
      });
    },
  );

  test('kills a worker that hangs, and says that nobody knows what it left', async () => {
    await using gateway = await GatewayProcess.start({
      workers: 2,
      env: { OWSLA_SHUTDOWN_TIMEOUT_MS: '1s' },
    });
    const [hanging] = [...(await gateway.workers()).values()];
    process.kill(hanging!, 'SIGSTOP');
    gateway.signal('SIGTERM');
    await gateway.logged('worker did not drain in time: killed');
    expect(await within('exit', gateway.exited)).toEqual({ code: 1, signal: null });
    expect(gateway.log.at(-1)).toMatchObject({
      workers: 1,
      msg: expect.stringContaining('did not say how many frames they left unconfirmed'),
    });
    expect(await processesLeft([gateway.names.fromDevice])).toEqual([]);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('is forced by a second signal: %s', async (second) => {
    const env = { OWSLA_SHUTDOWN_NOT_READY_MS: '10m' };
    await using gateway = await GatewayProcess.start({ workers: 2, env });
    using device = await Device.connect(gateway.port);
    gateway.signal('SIGTERM');
    await gateway.logged('draining');
    gateway.signal(second);
    const { code, signal } = await within('exit', gateway.exited, 10_000);
    expect(signal).toBeNull();
    expect(code).toBeGreaterThan(0);
    expect(gateway.log.map((line) => line.msg)).toContain('second signal: stopping at once');
    expect(gateway.log.at(-1)!.msg).toContain('did not say how many frames they left unconfirmed');
    await within('close', device.closed);
    expect(await processesLeft([gateway.names.fromDevice])).toEqual([]);
  });
});
