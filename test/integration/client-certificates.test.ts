import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type SecureVersion } from 'node:tls';
import { expect, inject, test } from 'vitest';
import {
  createAuthority,
  type IssuedCertificate,
  issueClientCertificate,
} from '../../src/dev/certificates.ts';
import { Backend } from '../helpers/backend.ts';
import { clientAuthEnvironment, clientCertificate } from '../helpers/client-certificates.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

/** Every test goes through both: they verify certificates and resume sessions at different points. */
const VERSIONS: { minVersion: SecureVersion; maxVersion: SecureVersion }[] = [
  { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' },
  { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' },
];
const YESTERDAY = new Date(Date.now() - 86_400_000);
const LONG_AGO = new Date(Date.now() - 10 * 86_400_000);
const TOMORROW = new Date(Date.now() + 86_400_000);

test.each([
  { identity: 'cn', deviceId: 'meter-0815' },
  { identity: 'uri', deviceId: 'urn:dev:meter:0815' },
  { identity: 'dns', deviceId: '0815.meters.example' },
] as const)(
  'the $identity of a certificate is the device_id on every line',
  async ({ identity, deviceId }) => {
    await using gateway = await GatewayProcess.start({ env: clientAuthEnvironment('required', identity) });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    for (const tls of VERSIONS) {
      const version = tls.maxVersion;
      using device = await Device.connect(gateway.port, { ...tls, ...(await clientCertificate(METER)) });
      await device.send(`one ${version}`);
      await device.send(`two ${version}`);
      expect(await headersOf(backend, `one ${version}`)).toMatchObject({ device_id: deviceId });
      expect(await headersOf(backend, `two ${version}`)).toMatchObject({ device_id: deviceId });
      const connection_id = await backend.connectionOf(`one ${version}`);
      const opened = await backend.event(
        'connection.opened',
        (event) => event.connection_id === connection_id,
      );
      expect(opened).toMatchObject({ device_id: deviceId, tls: { protocol: version } });
      // The way back is by connection_id as ever.
      backend.reply(connection_id, 'reply', { seq: 0 });
      expect(await device.received(1)).toEqual(['reply']);
    }
  },
);

test.each(['required', 'optional'] as const)(
  'a certificate that is not good is refused where it is %s',
  async (clientAuth) => {
    await using gateway = await GatewayProcess.start({ env: clientAuthEnvironment(clientAuth, 'uri') });
    await using backend = await Backend.connect(gateway.names);
    await backend.collect();
    const refused = await badCertificates();
    if (clientAuth === 'required') refused.push(['no client certificate was offered', undefined]);
    const closed = () => backend.events.filter(({ event }) => event === 'connection.closed');
    let count = 0;
    for (const tls of VERSIONS) {
      for (const [detail, certificate] of refused) {
        // Without a session there is nothing to come back with.
        expect(await beRefused(gateway.port, { ...tls, ...certificate })).toBeUndefined();
        count++;
        await eventually('its event', () => closed().length === count);
        expect(closed().at(-1)).toMatchObject({
          reason: 'client_certificate',
          detail: expect.stringContaining(detail),
          established: false,
        });
        expect(closed().at(-1)).not.toHaveProperty('device_id');
      }
    }
    expect(await gateway.metric('owsla_connections_closed_total', { reason: 'client_certificate' })).toBe(
      count,
    );
    expect(await gateway.metric('owsla_handshakes_total', { result: 'client_certificate' })).toBe(count);
    expect(await gateway.metric('owsla_handshakes_in_progress')).toBe(0);

    using device = await Device.connect(gateway.port, await clientCertificate(METER));
    await device.send('good');
    await backend.connectionOf('good');
    // Nothing of the others went through.
    expect(backend.lines.length).toBe(1);
    expect(await gateway.metric('owsla_connections_opened_total')).toBe(1);
  },
);

test('a device without a certificate gets in where one is optional, as nobody', async () => {
  await using gateway = await GatewayProcess.start({ env: clientAuthEnvironment('optional') });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  for (const tls of VERSIONS) {
    const version = tls.maxVersion;
    using nobody = await Device.connect(gateway.port, tls);
    await nobody.send(`nobody ${version}`);
    using meter = await Device.connect(gateway.port, { ...tls, ...(await clientCertificate(METER)) });
    await meter.send(`meter ${version}`);
    expect(await headersOf(backend, `nobody ${version}`)).not.toHaveProperty('device_id');
    expect(await headersOf(backend, `meter ${version}`)).toMatchObject({ device_id: 'meter-0815' });
  }
});

test('a certificate says nothing where none is asked for', async () => {
  await using gateway = await GatewayProcess.start();
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port, await clientCertificate(METER));
  await device.send('hello');
  expect(await headersOf(backend, 'hello')).not.toHaveProperty('device_id');
  expect(await backend.event('connection.opened')).not.toHaveProperty('device_id');
});

test('a resumed session keeps its identity', async () => {
  await using gateway = await GatewayProcess.start({ env: clientAuthEnvironment('required') });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  for (const tls of VERSIONS) {
    const version = tls.maxVersion;
    using device = await Device.connect(gateway.port, { ...tls, ...(await clientCertificate(METER)) });
    await device.send(`first ${version}`);
    backend.reply(await backend.connectionOf(`first ${version}`), 'reply');
    // In TLS 1.3 the tickets follow the handshake; by now they have come.
    await device.received(1);
    const session = device.socket.getSession();
    await device.close();

    // Without the certificate: it is the session that proves who this is.
    using again = await Device.connect(gateway.port, { ...tls, session });
    await again.send(`again ${version}`);
    expect(await headersOf(backend, `again ${version}`)).toMatchObject({ device_id: 'meter-0815' });
    expect(again.socket.isSessionReused()).toBe(true);
    const connection_id = await backend.connectionOf(`again ${version}`);
    const opened = await backend.event('connection.opened', (event) => event.connection_id === connection_id);
    expect(opened).toMatchObject({ device_id: 'meter-0815', tls: { protocol: version, resumed: true } });
  }
  expect(await gateway.metric('owsla_handshakes_total', { resumed: 'true' })).toBe(2);
});

const METER = { commonName: 'meter-0815', uri: 'urn:dev:meter:0815', dns: '0815.meters.example' };

/** Certificates to refuse where the identity is the URI, each with a part of what the gateway says of it. */
async function badCertificates(): Promise<[detail: string, certificate: IssuedCertificate | undefined][]> {
  const file = (name: string) => readFileSync(join(inject('certificatesDir'), name), 'utf8');
  const expired = { ...METER, notBefore: LONG_AGO, notAfter: YESTERDAY };
  return [
    // Of another authority with the same name.
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', await issueClientCertificate(await createAuthority(), METER)],
    ['CERT_HAS_EXPIRED', await clientCertificate(expired)],
    ['CERT_NOT_YET_VALID', await clientCertificate({ ...METER, notBefore: TOMORROW })],
    ['INVALID_PURPOSE', { cert: file('server.pem'), key: file('server-key.pem') }],
    ['has no uri', await clientCertificate({ commonName: 'meter-0815', dns: '0815.meters.example' })],
  ];
}

/** Tries to get a line through and waits for the close; returns the TLS session if there was one. */
async function beRefused(port: number, options: ConnectionOptions): Promise<Buffer | undefined> {
  const ca = readFileSync(join(inject('certificatesDir'), 'ca.pem'));
  const socket = connect({ host: '127.0.0.1', servername: 'localhost', port, ca, ...options });
  let session: Buffer | undefined;
  socket.on('session', (given) => {
    session = given;
  });
  socket.on('error', () => {});
  socket.resume().write('let me in\n');
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  await within('close', closed);
  return session;
}

async function headersOf(backend: Backend, line: string): Promise<Record<string, unknown>> {
  await backend.connectionOf(line);
  return backend.lines.find(({ content }) => String(content) === line)!.properties.headers!;
}
