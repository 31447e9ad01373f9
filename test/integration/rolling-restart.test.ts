import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { type IssuedCertificate, issueServerCertificate } from '../../src/dev/certificates.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { Backend } from '../helpers/backend.ts';
import { clientCertificate } from '../helpers/client-certificates.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { Traffic } from '../helpers/traffic.ts';

let dir: string;
let files: { cert: string; key: string };

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'owsla-rolling-'));
  files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
  copyFileSync(join(inject('certificatesDir'), 'server.pem'), files.cert);
  copyFileSync(join(inject('certificatesDir'), 'server-key.pem'), files.key);
});
afterEach(() => rmSync(dir, { recursive: true }));

const start = (env: Record<string, string> = {}) =>
  GatewayProcess.start({
    workers: 2,
    env: { OWSLA_TLS_CERT: files.cert, OWSLA_TLS_KEY: files.key, OWSLA_SHUTDOWN_CLOSE_RATE: '100', ...env },
  });

test('SIGHUP replaces one worker after the other: nothing is lost, and newcomers always get in', async () => {
  await using gateway = await start();
  await using traffic = await Traffic.start(gateway);
  const pids = await workerPids(gateway);
  const opened = await gateway.metric('owsla_connections_opened_total');
  const certificate = await certificateOf(gateway.port);
  let over = false;
  const newcomers = (async () => {
    for (let count = 0; ; count++) {
      using device = await Device.connect(gateway.port);
      expect(device.socket.authorized).toBe(true);
      expect((await gateway.readiness()).ready).toBe(true);
      if (over) return count;
    }
  })();
  newcomers.catch(() => {}); // Looked at below.

  const next = await issueServerCertificate(authority());
  writeFileSync(files.cert, next.cert);
  writeFileSync(files.key, next.key);
  process.kill(gateway.pid, 'SIGHUP');
  await gateway.logged('rolling restart complete', 90_000);
  await traffic.flows();
  over = true;
  expect(await newcomers).toBeGreaterThan(10);

  const after = await workerPids(gateway);
  expect(after.filter((pid) => pids.includes(pid))).toEqual([]);
  expect(await certificateOf(gateway.port)).not.toBe(certificate);
  expect(traffic.drops).toBeGreaterThanOrEqual(200);
  // What the old workers had counted is not gone with them: these 200 have been opened twice.
  expect(await gateway.metric('owsla_connections_opened_total')).toBeGreaterThanOrEqual(opened + 200);
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.lines).toMatchObject({ lost: 0, unmarked: 0, unread: 0 });
  expect(report.replies).toMatchObject({ lost: 0, unknown: 0 });
  expect(gateway.log.filter(({ level }) => level >= 50)).toEqual([]);
  expect(await gateway.stop()).toBe(0);
});

test('SIGHUP to all processes of the gateway is a rolling restart, too', async () => {
  await using gateway = await start();
  const pids = await workerPids(gateway);
  for (const pid of [...pids, gateway.pid]) process.kill(pid, 'SIGHUP');
  await gateway.logged('rolling restart complete', 90_000);
  expect((await workerPids(gateway)).filter((pid) => pids.includes(pid))).toEqual([]);
  expect(gateway.log.filter(({ msg }) => msg === 'worker exited')).toEqual([]);
  expect(await gateway.stop()).toBe(0);
});

test('a certificate that has expired shuts out those who look at it, and a new one lets them in', async () => {
  const renew = async (notAfter: Date) => {
    const notBefore = new Date(notAfter.getTime() - 86_400_000);
    const { cert, key } = await issueServerCertificate(authority(), { notBefore, notAfter });
    writeFileSync(files.cert, cert);
    writeFileSync(files.key, key);
  };
  await renew(new Date(Date.now() - 60_000));
  await using gateway = await start();
  expect(gateway.stderr).toContain('expired on');
  await expect(Device.connect(gateway.port)).rejects.toMatchObject({ code: 'CERT_HAS_EXPIRED' });
  await using backend = await Backend.connect(gateway.names);
  await backend.echo();
  using careless = await Device.connect(gateway.port, { rejectUnauthorized: false });
  await careless.send('is anybody there?');
  expect(await careless.received(1)).toEqual(['is anybody there?']);

  await renew(new Date(Date.now() + 3_600_000));
  process.kill(gateway.pid, 'SIGHUP');
  await gateway.logged('rolling restart complete', 90_000);
  using device = await Device.connect(gateway.port);
  await device.send('and now?');
  expect(await device.received(1)).toEqual(['and now?']);
});

test('what cannot be loaded is named, and the gateway goes on with what it has', async () => {
  await using gateway = await start();
  const pids = await workerPids(gateway);
  using device = await Device.connect(gateway.port);
  writeFileSync(files.cert, 'not a certificate');
  process.kill(gateway.pid, 'SIGHUP');
  const refused = await gateway.logged('rolling restart given up: what runs stays');
  expect(refused.reason).toContain('tls.cert');
  expect(await workerPids(gateway)).toEqual(pids);
  using another = await Device.connect(gateway.port);
  expect([device.socket.destroyed, another.socket.destroyed]).toEqual([false, false]);
});

test('a configuration file that was cut off to nothing is refused, and its settings still hold', async () => {
  const config = join(dir, 'owsla.yaml');
  const clientCa = join(inject('certificatesDir'), 'ca.pem');
  writeFileSync(config, `tls: { clientAuth: required, clientCa: ${JSON.stringify(clientCa)} }\n`);
  await using gateway = await start({ OWSLA_CONFIG: config });
  const pids = await workerPids(gateway);
  using device = await Device.connect(gateway.port, await clientCertificate({ commonName: 'meter' }));
  truncateSync(config);
  process.kill(gateway.pid, 'SIGHUP');
  const refused = await gateway.logged('rolling restart given up: what runs stays');
  expect(refused.reason).toMatch(
    /^owsla\.yaml: empty, while the running configuration has 2 settings from it;/,
  );
  expect(await workerPids(gateway)).toEqual(pids);
  expect(device.socket.destroyed).toBe(false);
  await expect(Device.connect(gateway.port, { maxVersion: 'TLSv1.2' })).rejects.toThrow();
  expect(await gateway.metric('owsla_handshakes_total', { result: 'client_certificate' })).toBe(1);
});

test('keys of the configuration file are applied and named, and so are those that cannot be applied', async () => {
  const config = join(dir, 'owsla.yaml');
  writeFileSync(config, 'endpoint: { idleTimeoutMs: 10m }\n');
  await using gateway = await start({ OWSLA_CONFIG: config });
  using idle = await Device.connect(gateway.port);
  writeFileSync(config, 'workers: 5\nendpoint: { idleTimeoutMs: 300ms }\nrestart: { maxRestarts: 3 }\n');
  process.kill(gateway.pid, 'SIGHUP');
  await gateway.logged('rolling restart complete', 90_000);
  const ignored = await gateway.logged((line) => Array.isArray(line.keys));
  // The number of workers comes from the environment here, which is stronger.
  expect(ignored.keys).toEqual(['restart.maxRestarts']);
  expect((await gateway.logged('rolling restart')).changed).toEqual(['endpoint.idleTimeoutMs']);
  expect((await gateway.readiness()).workers).toHaveLength(2);
  await idle.closed;
  using soonClosed = await Device.connect(gateway.port);
  await soonClosed.closed;
});

test('a replacement that does not get ready is given up, and the old worker stays', async () => {
  const config = join(dir, 'owsla.yaml');
  writeFileSync(config, 'restart: { readyTimeoutMs: 6s }\n');
  await using gateway = await start({ OWSLA_CONFIG: config, OWSLA_AMQP_QUEUE_TYPE: 'quorum' });
  const pids = await workerPids(gateway);
  using device = await Device.connect(gateway.port);
  // The queues are there with another limit, so that the broker refuses the declaration.
  writeFileSync(config, 'restart: { readyTimeoutMs: 6s }\namqp: { deliveryLimit: 7 }\n');
  process.kill(gateway.pid, 'SIGHUP');
  const refused = await gateway.logged('rolling restart given up: what runs stays');
  expect(refused.reason).toMatch(/did not become ready: .*x-delivery-limit 20/);
  expect(await workerPids(gateway)).toEqual(pids);
  expect(device.socket.destroyed).toBe(false);
});

test('replies to the nodes before it have their fate at once, also when inboxes are configured otherwise now', async () => {
  const config = join(dir, 'owsla.yaml');
  writeFileSync(config, 'amqp: { inboxTtlMs: 20m }\n');
  await using gateway = await start({ OWSLA_CONFIG: config });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('hello');
  const id = await backend.connectionOf('hello');
  writeFileSync(config, 'amqp: { inboxTtlMs: 30m, inboxExpiresMs: 2h }\n');
  process.kill(gateway.pid, 'SIGHUP');
  await gateway.logged('rolling restart complete', 90_000);
  backend.reply(id, 'are you there?', { queue: gateway.inboxOf(id) });
  const [undelivered] = await backend.undeliveredCount(1);
  expect(undelivered!.properties.headers!.reason).toBe('not_connected');
  expect((await gateway.readiness()).ready).toBe(true);
  expect(gateway.log.filter(({ level }) => level >= 50)).toEqual([]);
});

test('replies to a worker that crashes while its replacement starts have their fate at once', async () => {
  await using tap = await AmqpTap.start(inject('amqpUrl'));
  await using gateway = await start({
    OWSLA_WORKERS: '1',
    OWSLA_AMQP_URL: tap.url,
    OWSLA_AMQP_INBOX_TTL_MS: '20m',
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('hello');
  const id = await backend.connectionOf('hello');
  const [pid] = await workerPids(gateway);

  tap.opening = { answersLateMs: 1_000 };
  process.kill(gateway.pid, 'SIGHUP');
  await eventually('the next one is connecting', () => tap.connections === 6);
  // Whoever is started after the crash does not get as far.
  tap.opening = { answersLateMs: 60_000 };
  process.kill(pid!, 'SIGKILL');
  await gateway.logged('rolling restart complete', 90_000);
  tap.opening = {};
  backend.reply(id, 'are you there?', { queue: gateway.inboxOf(id) });
  const [undelivered] = await backend.undeliveredCount(1);
  expect(undelivered!.properties.headers!.reason).toBe('not_connected');
});

function authority(): IssuedCertificate {
  const read = (name: string) => readFileSync(join(inject('certificatesDir'), name), 'utf8');
  return { cert: read('ca.pem'), key: read('ca-key.pem') };
}

async function workerPids(gateway: GatewayProcess): Promise<number[]> {
  return (await gateway.readiness()).workers.map(({ pid }) => pid);
}

/** Fingerprint of what the listener shows. */
async function certificateOf(port: number): Promise<string> {
  const ca = readFileSync(join(inject('certificatesDir'), 'ca.pem'));
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
  try {
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return socket.getPeerCertificate().fingerprint256;
  } finally {
    socket.destroy();
  }
}
