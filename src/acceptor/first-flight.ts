import type { Socket } from 'node:net';
import { type HandshakeKind, kindOfHello, MAX_HELLO_BYTES } from './client-hello.ts';
import { type Handshake, handshakeOf } from './handshake.ts';
import { type ProxyHeader, ProxyHeaderError } from './proxy-protocol.ts';

/** Where reading stops until TLS takes over; a device has no reason to send more before it is answered. */
const MAX_BYTES = 2 * MAX_HELLO_BYTES;

export interface FirstFlightHandlers {
  /** The PROXY header is complete. False when the socket was turned away. */
  headerRead(handshake: Handshake, source: ProxyHeader['source']): boolean;
  headerWrong(handshake: Handshake, problem: string): void;
  helloRead(handshake: Handshake, kind: HandshakeKind): void;
}

/**
 * Reads what a connection begins with, before TLS is made: the PROXY header, where one is due, and the ClientHello.
 * It goes on reading while the socket stands in line: that is how it is noticed that the client has gone.
 */
export class FirstFlight {
  readonly #handlers: FirstFlightHandlers;

  constructor(handlers: FirstFlightHandlers) {
    this.#handlers = handlers;
  }

  begin({ socket }: Handshake): void {
    socket.on('readable', this.#onReadable);
  }

  /**
   * Gives what was read back to the socket, for TLS to read. The listener stays, as to take it off costs more than to
   * be called once: TLS reads from the handle, and the socket has nothing to say any more.
   */
  end(handshake: Handshake): void {
    const { socket, bytes } = handshake;
    if (bytes !== null) socket.unshift(bytes);
    handshake.bytes = null;
  }

  /** One listener for all sockets: `this` is the socket. */
  readonly #onReadable = ((flight: FirstFlight) =>
    function onReadable(this: Socket): void {
      const handshake = handshakeOf(this);
      if (handshake === undefined || handshake.phase === 'tls') return;
      const chunk: Buffer | null = this.read();
      if (chunk !== null) flight.#received(handshake, chunk);
    })(this);

  #received(handshake: Handshake, chunk: Buffer): void {
    const bytes = handshake.phase === 'proxy' ? this.#withoutHeader(handshake, chunk) : chunk;
    if (bytes === undefined || bytes.length === 0) return;
    handshake.bytes = handshake.bytes === null ? bytes : Buffer.concat([handshake.bytes, bytes]);
    if (handshake.phase === 'hello') {
      const kind = kindOfHello(handshake.bytes);
      if (kind !== undefined) this.#handlers.helloRead(handshake, kind);
    } else if (handshake.bytes.length > MAX_BYTES) {
      handshake.socket.off('readable', this.#onReadable);
    }
  }

  /** What follows the header; `undefined` while it is not complete, or when the socket was turned away. */
  #withoutHeader(handshake: Handshake, chunk: Buffer): Buffer | undefined {
    let header: ProxyHeader | undefined;
    try {
      header = handshake.proxyParser!.push(chunk);
    } catch (error) {
      if (!(error instanceof ProxyHeaderError)) throw error;
      this.#handlers.headerWrong(handshake, error.message);
      return undefined;
    }
    if (header === undefined) return undefined;
    handshake.proxyParser = null;
    handshake.phase = 'hello';
    return this.#handlers.headerRead(handshake, header.source) ? header.rest : undefined;
  }
}
