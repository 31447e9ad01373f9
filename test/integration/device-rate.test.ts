import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineAudit } from '../helpers/line-audit.ts';

const PER_SECOND = 200;
const LINES = 800;

describe('lines of a device that sends faster than it may', () => {
  it('come in order, at its rate, and the log says so', async () => {
    await using gateway = await start();
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port);
    const startMs = performance.now();
    const audit = await writeAll(device, gateway, backend);
    await eventually('all lines', () => audit.total === LINES);
    // All but what may come at once.
    expect(performance.now() - startMs).toBeGreaterThan((1_000 * (LINES - PER_SECOND)) / PER_SECOND - 100);
    expect(audit.violations).toEqual([]);
    const { level, count } = await gateway.logged(({ msg }) => msg.startsWith('devices send faster'));
    expect({ level, count }).toEqual({ level: 40, count: 1 });
    await eventually('its reads go on', async () => (await gateway.metric('owsla_connections_paused')) === 0);
  });

  it('are all read when it closes', async () => {
    await using gateway = await start();
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port);
    const audit = await writeAll(device, gateway, backend);
    device.socket.end();
    await eventually('all lines', () => audit.total === LINES);
    expect(audit.violations).toEqual([]);
    await eventually('the event of its end', () =>
      backend.events.some(({ reason, frames_received: n }) => reason === 'peer_closed' && n === LINES),
    );
  });

  it('are all read at a shutdown', async () => {
    await using gateway = await start();
    await using backend = await Backend.connect(gateway.names);
    using device = await Device.connect(gateway.port);
    const audit = await writeAll(device, gateway, backend);
    gateway.signal('SIGTERM');
    expect(await within('exit', gateway.exited)).toEqual({ code: 0, signal: null });
    await eventually('all lines', () => audit.total === LINES);
    expect(audit.violations).toEqual([]);
    await eventually('the event of its end', () =>
      backend.events.some(({ reason, frames_received: n }) => reason === 'shutdown' && n === LINES),
    );
  });

  it('are published as far as they were read when it resets the connection', async () => {
    await using gateway = await start();
    await using backend = await Backend.connect(gateway.names);
    const socket = connect(gateway.port, '127.0.0.1');
    using device = await Device.connect(gateway.port, { socket });
    const audit = await writeAll(device, gateway, backend);
    socket.resetAndDestroy();
    // A reset behind unread bytes can look like an end to Node, so its reason is not the point.
    const { frames_received } = await backend.event('connection.closed');
    await eventually('what was read', () => audit.total === frames_received);
    expect(audit.violations).toEqual([]);
    expect(await gateway.metric('owsla_connections')).toBe(0);
    expect(await gateway.metric('owsla_connections_paused')).toBe(0);
  });
});

const start = () =>
  GatewayProcess.start({ env: { OWSLA_ENDPOINT_MAX_FRAMES_PER_SECOND: String(PER_SECOND) } });

/** The device writes all of its lines; resolves when the first have come and the others wait for its rate. */
async function writeAll(device: Device, gateway: GatewayProcess, backend: Backend): Promise<LineAudit> {
  const audit = new LineAudit();
  await backend.consume((message) => audit.add(message));
  await device.write(Array.from({ length: LINES }, (_, n) => `line ${n} ${'.'.repeat(500)}\n`).join(''));
  await eventually('its reads pause', async () => (await gateway.metric('owsla_connections_paused')) === 1);
  expect(audit.total).toBeLessThan(LINES);
  return audit;
}
