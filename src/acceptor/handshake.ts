import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Ending } from '../endpoint/lifecycle.ts';
import type { WheelEntry } from '../util/timing-wheel.ts';

/** A socket between accept and the end of its TLS handshake. */
export class Handshake implements WheelEntry {
  readonly connectionId: string;
  readonly socket: Socket;
  readonly acceptedAtMs: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** It has a slot; before that it waits for one. */
  started = false;
  /** Why it failed, once that is known; the socket's close reports it. */
  failure: Ending | undefined;

  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  constructor(connectionId: string, socket: Socket, acceptedAtMs: number) {
    this.connectionId = connectionId;
    this.socket = socket;
    this.acceptedAtMs = acceptedAtMs;
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
