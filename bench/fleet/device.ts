import type { TLSSocket } from 'node:tls';
import type { SessionAudit } from '../../src/dev/ledger.ts';
import type { WheelEntry } from '../../src/util/timing-wheel.ts';

/** Whoever keeps devices hears from here what happens to their sockets. */
export interface DeviceKeeper {
  secured(device: Device, socket: TLSSocket): void;
  received(device: Device, chunk: Buffer): void;
  /** The server gave out a session that can be offered again. */
  sessionGiven(session: Buffer): void;
  /** After an error, too, whose code the device then has. */
  closed(device: Device): void;
}

/**
 * One simulated device: numbers and a socket. All that happens to it is its keeper's business; the listeners are
 * shared by all devices, so that a device costs little more than its TLS connection.
 *
 *   idle ──► connecting ──► open ──lost──► waiting ──► connecting …
 *                 └──failed──► waiting, or over when it gives up
 */
export type DeviceState = 'idle' | 'connecting' | 'open' | 'waiting' | 'over';

export class Device implements WheelEntry {
  readonly index: number;
  readonly keeper: DeviceKeeper;
  state: DeviceState = 'idle';
  socket: TLSSocket | undefined;
  /** Failed attempts since it was connected last. */
  failures = 0;
  /** Connections it has had. */
  connections = 0;
  /** Since when it wants to be connected, planned or by a loss. */
  wantedSinceMs = 0;
  /** Planned time of this attempt. */
  attemptMs = 0;
  /** Name of the first error of this attempt or connection. */
  errorCode = '';
  audit: SessionAudit | undefined;
  /** Begin of a line whose end has not come. */
  rest = '';

  wheelDueMs = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;
  wheelSlot = -1;

  constructor(index: number, keeper: DeviceKeeper) {
    this.index = index;
    this.keeper = keeper;
  }

  /** From here on, this socket is the device's; what still happens to an earlier one is nobody's business. */
  take(socket: TLSSocket, wantsSessions: boolean): void {
    (socket as DeviceSocket)[DEVICE] = this;
    this.socket = socket;
    socket.on('secureConnect', onSecure);
    socket.on('error', onError);
    socket.on('close', onClose);
    if (wantsSessions) socket.on('session', onSession);
  }

  /** Hands what comes to the keeper. */
  listen(): void {
    this.socket?.on('data', onData);
  }
}

const DEVICE = Symbol('device');
type DeviceSocket = TLSSocket & { [DEVICE]: Device };

function onSecure(this: DeviceSocket): void {
  this[DEVICE].keeper.secured(this[DEVICE], this);
}

function onData(this: DeviceSocket, chunk: Buffer): void {
  this[DEVICE].keeper.received(this[DEVICE], chunk);
}

function onSession(this: DeviceSocket, session: Buffer): void {
  this[DEVICE].keeper.sessionGiven(session);
}

function onError(this: DeviceSocket, error: NodeJS.ErrnoException): void {
  const device = this[DEVICE];
  if (device.socket === this && device.errorCode === '') device.errorCode = error.code ?? error.name;
}

function onClose(this: DeviceSocket): void {
  const device = this[DEVICE];
  if (device.socket === this) device.keeper.closed(device);
}
