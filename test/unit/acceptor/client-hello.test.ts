import { once } from 'node:events';
import { createServer } from 'node:net';
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { kindOfHello, MAX_HELLO_BYTES } from '../../../src/acceptor/client-hello.ts';
import { createAuthority, issueServerCertificate } from '../../../src/dev/certificates.ts';

/** What a real client sends first. */
async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = connect({ host: '127.0.0.1', port, ...options });
  client.on('error', () => {});
  const [accepted] = await once(server, 'connection');
  const [hello] = await once(accepted, 'data');
  client.destroy();
  accepted.destroy();
  server.close();
  return hello;
}

/** A session that a real server gave. */
async function sessionOf(version: 'TLSv1.2' | 'TLSv1.3'): Promise<Buffer> {
  const server = createTlsServer(await issueServerCertificate(await createAuthority()), (socket) => {
    socket.on('error', () => {});
    socket.end('x');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    minVersion: version,
    maxVersion: version,
  });
  socket.resume();
  const [session] = (await once(socket, 'session')) as [Buffer];
  socket.destroy();
  server.close();
  return session;
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('the ClientHello of %s', (version) => {
  const versions = { minVersion: version, maxVersion: version };
  let full: Buffer;
  let resumed: Buffer;
  beforeAll(async () => {
    full = await helloOf(versions);
    resumed = await helloOf({ ...versions, session: await sessionOf(version) });
  });

  test('says whether a session is offered, once it is complete', () => {
    for (const [hello, kind] of [
      [full, 'full'],
      [resumed, 'resumed'],
    ] as const) {
      for (let length = 0; length < hello.length; length++)
        expect(kindOfHello(hello.subarray(0, length))).toBeUndefined();
      expect(kindOfHello(hello)).toBe(kind);
      expect(kindOfHello(Buffer.concat([hello, Buffer.from('more')]))).toBe(kind);
    }
  });

  /** The same message in records of so many bytes. */
  const inRecordsOf = (size: number) => {
    const message = resumed.subarray(5);
    const records: Buffer[] = [];
    for (let at = 0; at < message.length; at += size) {
      const part = message.subarray(at, at + size);
      records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 0xff]), part);
    }
    return Buffer.concat(records);
  };

  test('may be spread over records', () => {
    const fewest = Math.ceil(resumed.length / 60);
    fc.assert(
      fc.property(fc.integer({ min: fewest, max: 300 }), (size) => {
        const bytes = inRecordsOf(size);
        expect(kindOfHello(bytes)).toBe('resumed');
        expect(kindOfHello(bytes.subarray(0, -1))).toBeUndefined();
      }),
    );
  });

  test('is not read to its end when it comes in crumbs', () => {
    const crumbs = inRecordsOf(1);
    expect(kindOfHello(crumbs)).toBe('full');
    expect(kindOfHello(crumbs.subarray(0, 6 * 70))).toBe('full');
  });
});

test('what is no ClientHello is for TLS to refuse', () => {
  for (const text of [
    'GET / HTTP/1.1\r\n',
    '\x17\x03\x03\x00\x01x',
    '\x16\x03\x01\x00\x00',
    '\x16\x03\x01\x00\x04\x02abc',
  ])
    expect(kindOfHello(Buffer.from(text, 'latin1'))).toBe('full');
});

test('anything gets a kind within the largest size', () => {
  const noise = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(noise, fc.boolean(), (bytes, isHandshake) => {
      const message = Buffer.concat([Buffer.from([1, 0, 0, bytes.length]), bytes]);
      const record = Buffer.concat([Buffer.from([22, 3, 1, 0, message.length]), message]);
      expect(['full', 'resumed']).toContain(
        kindOfHello(isHandshake ? record : Buffer.concat([bytes, Buffer.alloc(MAX_HELLO_BYTES)])),
      );
    }),
    { numRuns: 1_000 },
  );
});
