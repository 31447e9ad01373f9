import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { SocketEnd } from '../endpoint/endpoint-host.ts';
import type { Ending } from '../endpoint/lifecycle.ts';
import type { WheelEntry } from '../util/timing-wheel.ts';
import type { HandshakeKind } from './client-hello.ts';
import type { ProxyHeaderParser } from './proxy-protocol.ts';

/**
 * How far a socket has come since it was accepted.
 *
 *   proxy ──► hello ──► line ──► tls
 *
 * `proxy`: its PROXY header is awaited; `hello`: its ClientHello; `line`: it waits for its turn; `tls`: it was given
 * to TLS.
 */
export type HandshakePhase = 'proxy' | 'hello' | 'line' | 'tls';

/** A socket between accept and the end of its TLS handshake. */
export class Handshake implements WheelEntry {
  readonly connectionId: string;
  readonly socket: Socket;
  readonly acceptedAtMs: number;
  /** The device's own end, as far as it is known. */
  remoteAddress: string;
  remotePort: number;
  phase: HandshakePhase;
  /** What was read of it so far; TLS gets it in the end. */
  bytes: Buffer | null = null;
  proxyParser: ProxyHeaderParser | null = null;
  /** The end of the TCP connection itself, where a load balancer's header named another. */
  transport: SocketEnd | undefined;
  /** A load balancer's own connection: it only looks whether somebody is there. */
  isHealthCheck = false;
  kind: HandshakeKind = 'full';
  holdsSlot = false;
  /** It counts for its address. */
  isCounted = false;
  /** It was turned away; the one who did that has said so. */
  isRefused = false;
  /** Why it failed, once that is known; the socket's close reports it. */
  failure: Ending | undefined;

  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  constructor(connectionId: string, socket: Socket, acceptedAtMs: number, phase: HandshakePhase = 'hello') {
    this.connectionId = connectionId;
    this.socket = socket;
    this.acceptedAtMs = acceptedAtMs;
    this.phase = phase;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.remotePort = socket.remotePort ?? 0;
    (socket as HandshakeSocket).owslaHandshake = this;
  }

  /** Its part is over: the socket lives on, or is closed. */
  detach(): void {
    (this.socket as HandshakeSocket).owslaHandshake = undefined;
  }
}

type HandshakeSocket = Socket & { owslaHandshake?: Handshake | undefined };

export function handshakeOf(socket: Socket): Handshake | undefined {
  return (socket as HandshakeSocket).owslaHandshake;
}

/**
 * The handshake a TLS socket belongs to. Node's events of the TLS server name the TLS socket only; the accepted
 * socket under it is `_parent`, which has no public name (a unit test holds Node to it).
 */
export function handshakeOfTls(socket: TLSSocket): Handshake | undefined {
  const parent = (socket as unknown as { _parent?: Socket })._parent;
  return parent === undefined ? undefined : handshakeOf(parent);
}
