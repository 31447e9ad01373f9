import { once } from 'node:events';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import {
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
  type Server as TlsServer,
} from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Handshake, handshakeOf, handshakeOfTls } from '../../../src/acceptor/handshake.ts';
import { createAuthority, issueServerCertificate } from '../../../src/dev/certificates.ts';

describe('the handshake of a socket', () => {
  let listener: Server;
  let tls: TlsServer;
  let port: number;
  let handshake: Handshake;

  beforeEach(async () => {
    tls = createTlsServer(await issueServerCertificate(await createAuthority()));
    listener = createServer({ pauseOnConnect: true }, (socket) => {
      handshake = new Handshake('some-connection', socket, 123);
      tls.emit('connection', socket);
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    port = (listener.address() as { port: number }).port;
  });
  afterEach(() => {
    listener.close();
  });

  test('is found from the TLS socket when it has succeeded', async () => {
    const client = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    client.on('error', () => {});
    const [socket] = (await once(tls, 'secureConnection')) as [TLSSocket];
    expect(handshakeOfTls(socket)).toBe(handshake);
    expect(handshake).toMatchObject({
      connectionId: 'some-connection',
      acceptedAtMs: 123,
      remoteAddress: '127.0.0.1',
      remotePort: client.localPort,
      phase: 'hello',
      holdsSlot: false,
      failure: undefined,
    });

    handshake.detach();
    expect(handshakeOfTls(socket)).toBeUndefined();
    socket.destroy();
    client.destroy();
  });

  test('is found from the TLS socket when it has failed', async () => {
    const client = connectTcp(port, '127.0.0.1');
    client.on('error', () => {});
    client.write('this is not a ClientHello');
    const [, socket] = (await once(tls, 'tlsClientError')) as [Error, TLSSocket];
    expect(handshakeOfTls(socket)).toBe(handshake);
    expect(handshakeOf(handshake.socket)).toBe(handshake);
    socket.destroy();
    client.destroy();
  });

  test('ends with the TLS socket when the accepted socket is destroyed', async () => {
    const client = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    client.on('error', () => {});
    const [socket] = (await once(tls, 'secureConnection')) as [TLSSocket];
    const closed = once(socket, 'close');
    handshake.socket.destroy();
    await closed;
    expect(socket.destroyed).toBe(true);
    client.destroy();
  });
});

test('a socket that has none has none', () => {
  expect(handshakeOf({} as Socket)).toBeUndefined();
  expect(handshakeOfTls({} as TLSSocket)).toBeUndefined();
});
