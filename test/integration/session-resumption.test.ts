import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions, SecureVersion } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { uniqueNames } from '../helpers/names.ts';

const VERSIONS: SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];
const SECRET = 'one secret for all instances, and not a short one';

const only = (version: SecureVersion): ConnectionOptions => ({ minVersion: version, maxVersion: version });

/** Connects once, and keeps what it takes to resume. */
async function sessionOf(port: number, version: SecureVersion): Promise<Buffer> {
  const device = await Device.connect(port, only(version));
  // In TLS 1.3 tickets come after the handshake; in 1.2 it is there already.
  const session =
    version === 'TLSv1.2'
      ? device.socket.getSession()
      : new Promise<Buffer>((resolve) => device.socket.once('session', resolve));
  const kept = await within('session ticket', Promise.resolve(session));
  await device.close();
  return kept!;
}

describe.each(VERSIONS)('a session of %s', (version) => {
  test('is resumed at every worker of an instance, without a secret being configured', async () => {
    await using gateway = await GatewayProcess.start({ workers: 2 });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    const session = await sessionOf(gateway.port, version);
    const workers = new Set<string>();
    for (let attempt = 0; workers.size < 2 && attempt < 200; attempt++) {
      using device = await Device.connect(gateway.port, { ...only(version), session });
      expect(device.socket.isSessionReused()).toBe(true);
      await device.send(`hello ${attempt}`);
      workers.add((await backend.connectionOf(`hello ${attempt}`)).slice(-12));
    }
    expect(workers.size).toBe(2);
    const resumed = await gateway.metric('owsla_handshakes_total', { resumed: 'true', result: 'ok' });
    expect(resumed).toBeGreaterThanOrEqual(2);
    expect(await gateway.metric('owsla_handshakes_started_total', { kind: 'resumed' })).toBe(resumed);
    expect(await gateway.metric('owsla_handshakes_total', { resumed: 'false', result: 'ok' })).toBe(1);
  });
});

test('a session is resumed at another instance with the same secret, and not with another one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'owsla-secret-'));
  const file = join(folder, 'secret');
  writeFileSync(file, `${SECRET}\n`);
  const names = uniqueNames();
  try {
    await using one = await GatewayProcess.start({ names, env: { OWSLA_TLS_TICKET_SECRET: SECRET } });
    await using two = await GatewayProcess.start({ names, env: { OWSLA_TLS_TICKET_SECRET_FILE: file } });
    await using stranger = await GatewayProcess.start({
      env: { OWSLA_TLS_TICKET_SECRET: `another ${SECRET}` },
    });
    for (const version of VERSIONS) {
      const session = await sessionOf(one.port, version);
      const reused: boolean[] = [];
      for (const gateway of [two, stranger, one]) {
        using device = await Device.connect(gateway.port, { ...only(version), session });
        reused.push(device.socket.isSessionReused());
      }
      expect(reused).toEqual([true, false, true]);
    }
    expect(await stranger.metric('owsla_handshakes_total', { resumed: 'true' })).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
