import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess, type LogLine } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { deleteQueue, queueDepth } from '../helpers/queues.ts';

const FAST_RETRY = { OWSLA_AMQP_RECONNECT_MIN_MS: '50ms', OWSLA_AMQP_RECONNECT_MAX_MS: '500ms' };

describe('a queue that somebody deletes', () => {
  const cameBack = (queue: string) => (line: LogLine) =>
    line.msg === 'broker channel lost' && String(line.reason).includes(queue);

  test('from_device, under load: declared anew, and what was not confirmed is in it', async () => {
    const DEVICES = 5;
    await using gateway = await GatewayProcess.start({ env: FAST_RETRY });
    const { fromDevice } = gateway.names;
    await using backend = await Backend.connect(gateway.names);
    using fleet = await Fleet.connect(gateway.port, DEVICES);
    const streams = fleet.devices.map((device, n) => new LineStream(device, `device ${n}`, { paceMs: 5 }));
    await eventually('lines flow', async () => (await queueDepth(fromDevice))! > 500);
    await deleteQueue(fromDevice);
    const lost = await gateway.logged(cameBack(fromDevice));
    expect(lost.channel).toBe('producer');
    await eventually('lines flow again', async () => ((await queueDepth(fromDevice)) ?? 0) > 500);
    await Promise.all(streams.map((stream) => stream.stop()));
    await fleet.close();

    const audit = new LineAudit();
    await backend.consume((message) => audit.add(message));
    for (const stream of streams) {
      const end = await backend.event('connection.closed', (e) => e.remote_port === stream.port);
      expect(end).toMatchObject({ reason: 'peer_closed', frames_received: stream.sent });
      const id = end.connection_id as string;
      await eventually(`the end of ${stream.line(0)}`, () => audit.lines(id).length === stream.sent);
      // Only the beginning is missing, which went down with the queue.
      const holes = audit.violations.filter((violation) => violation.startsWith(id));
      expect(holes).toEqual([expect.stringMatching(/: \d+ came before 0$/)]);
    }
    await eventually(
      'nothing is unconfirmed',
      async () => (await gateway.metric('owsla_unconfirmed_frames')) === 0,
    );
  });

  test('from_device, in a quiet moment: nothing is lost at all', async () => {
    await using gateway = await GatewayProcess.start({ env: FAST_RETRY });
    const { fromDevice } = gateway.names;
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port);
    await deleteQueue(fromDevice);
    const lines = Array.from({ length: 200 }, (_, n) => `line ${n}`);
    await device.write(lines.map((line) => `${line}\n`).join(''));
    await gateway.logged(cameBack(fromDevice));
    await eventually(
      'nothing is unconfirmed',
      async () => (await gateway.metric('owsla_unconfirmed_frames')) === 0,
    );
    const port = device.socket.localPort;
    await device.close();
    const audit = LineAudit.of(await backend.takeAll(fromDevice));
    const end = await backend.event('connection.closed', (e) => e.remote_port === port);
    expect(audit.lines(end.connection_id as string)).toEqual(lines);
    expect(audit.violations).toEqual([]);
  });

  test('to_device: the consumers come back, and the log names it', async () => {
    await using gateway = await GatewayProcess.start({ env: FAST_RETRY });
    const { toDevice } = gateway.names;
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    using device = await Device.connect(gateway.port);
    await device.send('hello');
    const id = await backend.connectionOf('hello');
    await deleteQueue(toDevice);
    const lost = await gateway.logged(cameBack(toDevice));
    expect(lost.reason).toContain('deleted');
    await eventually('declared anew', async () => (await queueDepth(toDevice)) !== undefined);
    for (let n = 0; n < 100; n++) backend.reply(id, `reply ${n}`, { seq: n });
    expect(await device.received(100)).toEqual(Array.from({ length: 100 }, (_, n) => `reply ${n}`));
    await eventually('ready', async () => (await gateway.readiness()).ready);
  });
});
