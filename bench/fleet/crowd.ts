import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls';
import { SessionAudit, type SessionTally } from '../../src/dev/ledger.ts';
import { TimingWheel } from '../../src/util/timing-wheel.ts';
import { Device, type DeviceKeeper } from './device.ts';
import { type Counters, count, type FleetSettings, noCounters, type TlsOffer } from './messages.ts';
import { type RetryPolicy, retryWaitMs } from './retry-policy.ts';

const WHEEL_TICK_MS = 10;
const WHEEL_SLOTS = 4_096;
/** Sessions that are kept to be offered again. */
const SESSIONS_KEPT = 1_024;

/** The longest head of a line, at a million devices in a process, a hundred million lines and a day, and its end. */
export const LEAST_LINE_BYTES = 48;

/** What the crowd tells of single devices. */
export interface CrowdListener {
  /** Time from the planned begin of an attempt to the end of its handshake. */
  handshake(ms: number, plannedMs: number): void;
  /** A device that had failed or was lost is back, so long after it wanted to be. */
  recovered(ms: number, wantedSinceMs: number): void;
  /** Time from the planned sending of a line to its reply. */
  replied(ms: number, plannedMs: number): void;
  /** A first attempt has ended, well or not. */
  attemptSettled(): void;
}

/**
 * Options that leave a client no choice. A key on P-256 can only sign for a TLS 1.2 client that names that curve among
 * its groups (RFC 8422, 5.1.1); the one that is wanted comes first.
 */
export function secureContextOf({ version, group }: TlsOffer): SecureContextOptions {
  const needsCurve = version === 'TLSv1.2' && group !== 'P-256';
  const ecdhCurve = needsCurve ? `${group}:P-256` : group;
  return { minVersion: version, maxVersion: version, ecdhCurve };
}

/** The devices of one load process: connecting, retrying, sending, receiving. Clock: `performance.now()`. */
export class Crowd implements DeviceKeeper {
  readonly devices: Device[] = [];
  readonly counters: Counters = noCounters();
  readonly #settings: FleetSettings;
  readonly #name: string;
  readonly #listener: CrowdListener;
  readonly #connectOptions: ConnectionOptions;
  readonly #hello: Buffer | undefined;
  readonly #deadlines: TimingWheel<Device>;
  readonly #sessions: Buffer[] = [];
  readonly #ended: SessionTally[] = [];
  #retry: RetryPolicy;
  #sessionsSeen = 0;
  #connects = 0;
  #closing = false;

  /** @param name of the process, unique among those that speak to one backend */
  constructor(name: string, settings: FleetSettings, listener: CrowdListener) {
    this.#name = name;
    this.#settings = settings;
    this.#listener = listener;
    this.#retry = settings.retry;
    this.#hello = settings.hello === undefined ? undefined : Buffer.from(settings.hello, 'base64');
    const { host, port, ca, client, tls } = settings;
    this.#connectOptions = {
      host,
      port,
      secureContext: createSecureContext({
        ...(ca === undefined ? {} : { ca: readFileSync(ca) }),
        ...(client === undefined ? {} : { cert: readFileSync(client.cert), key: readFileSync(client.key) }),
        ...(tls === undefined ? {} : secureContextOf(tls)),
      }),
      rejectUnauthorized: ca !== undefined,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    };
    this.#deadlines = new TimingWheel(WHEEL_TICK_MS, WHEEL_SLOTS, performance.now(), (device, nowMs) =>
      this.#due(device, nowMs),
    );
  }

  /** Attempts deadlines and retries that are due. */
  sweep(nowMs: number): void {
    this.#deadlines.sweep(nowMs);
  }

  setRetry(retry: RetryPolicy): void {
    this.#retry = retry;
  }

  /** A new device begins to connect. */
  addDevice(plannedMs: number): void {
    const device = new Device(this.devices.length, this);
    device.wantedSinceMs = plannedMs;
    this.devices.push(device);
    this.#attempt(device, plannedMs);
  }

  #attempt(device: Device, plannedMs: number): void {
    const { sources, connectTimeoutMs, resumeShare } = this.#settings;
    device.state = 'connecting';
    device.attemptMs = plannedMs;
    device.errorCode = '';
    this.counters.attempts++;
    this.counters.connecting++;
    const session = resumeShare > 0 ? this.#sessionToOffer(resumeShare) : undefined;
    const socket = connect({
      ...this.#connectOptions,
      ...(sources.length > 0 ? { localAddress: sources[this.#connects++ % sources.length]! } : {}),
      ...(session === undefined ? {} : { session }),
    });
    socket.setNoDelay(true);
    device.take(socket, resumeShare > 0);
    this.#deadlines.arm(device, Math.max(plannedMs, performance.now()) + connectTimeoutMs);
  }

  sessionGiven(session: Buffer): void {
    this.#sessions[this.#sessionsSeen++ % SESSIONS_KEPT] = session;
  }

  secured(device: Device, socket: TLSSocket): void {
    const nowMs = performance.now();
    const { counters } = this;
    this.#deadlines.disarm(device);
    counters.connecting--;
    counters.open++;
    counters.established++;
    if (socket.isSessionReused()) counters.resumed++;
    device.state = 'open';
    device.connections++;
    device.rest = '';
    this.#listener.handshake(nowMs - device.attemptMs, device.attemptMs);
    const first = device.connections === 1 && device.failures === 0;
    if (!first) this.#listener.recovered(nowMs - device.wantedSinceMs, device.wantedSinceMs);
    device.failures = 0;
    if (this.#hello !== undefined) socket.write(this.#hello);
    if (this.#settings.speaks) {
      device.audit = new SessionAudit(`${this.#name}.${device.index}.${device.connections}`);
      device.listen();
    } else {
      socket.resume();
    }
    if (first) this.#listener.attemptSettled();
  }

  closed(device: Device): void {
    const nowMs = performance.now();
    device.socket = undefined;
    if (device.state === 'connecting') this.#attemptFailed(device, device.errorCode || 'closed', nowMs);
    else if (device.state === 'open') this.#connectionLost(device, nowMs);
  }

  #attemptFailed(device: Device, cause: string, nowMs: number): void {
    this.#deadlines.disarm(device);
    this.counters.connecting--;
    count(this.counters.failed, cause);
    const first = device.connections === 0 && device.failures === 0;
    device.failures++;
    this.#waitOrGiveUp(device, nowMs);
    if (first) this.#listener.attemptSettled();
  }

  #connectionLost(device: Device, nowMs: number): void {
    this.counters.open--;
    const { audit } = device;
    if (audit !== undefined) {
      audit.dropped = !this.#closing;
      this.#endSession(device, audit);
    }
    if (this.#closing) {
      device.state = 'over';
      return;
    }
    count(this.counters.lost, device.errorCode || 'closed');
    device.wantedSinceMs = nowMs;
    device.failures = 1;
    this.#waitOrGiveUp(device, nowMs);
  }

  #endSession(device: Device, audit: SessionAudit): void {
    if (audit.sent > 0) this.#ended.push(audit.toJSON());
    this.counters.unanswered -= audit.sent - audit.received;
    device.audit = undefined;
  }

  #waitOrGiveUp(device: Device, nowMs: number): void {
    const waitMs = this.#closing ? undefined : retryWaitMs(this.#retry, device.failures);
    if (waitMs === undefined) {
      device.state = 'over';
      this.counters.gaveUp++;
      return;
    }
    device.state = 'waiting';
    this.counters.waiting++;
    this.#deadlines.arm(device, nowMs + waitMs);
  }

  /** The deadline of an attempt has passed, or the wait before the next one is over. */
  #due(device: Device, nowMs: number): void {
    if (device.state === 'connecting') {
      const { socket } = device;
      device.socket = undefined;
      this.#attemptFailed(device, 'client_timeout', nowMs);
      socket?.destroy();
    } else if (device.state === 'waiting') {
      this.counters.waiting--;
      this.#attempt(device, device.wheelDueMs);
    }
  }

  #sessionToOffer(share: number): Buffer | undefined {
    const kept = this.#sessions.length;
    return kept > 0 && Math.random() < share ? this.#sessions[Math.floor(Math.random() * kept)] : undefined;
  }

  /** Sends a line that was planned for then. Not connected: the line is missed. */
  send(device: Device, plannedMs: number, lineBytes: number): void {
    const { audit, socket } = device;
    if (device.state !== 'open' || audit === undefined || socket === undefined) {
      this.counters.linesMissed++;
      return;
    }
    // The planned time rides on the line, so that nothing has to be remembered for each line under way.
    const line = `${audit.session} ${audit.sent++} ${plannedMs.toFixed(2)} `;
    socket.write(`${line.padEnd(lineBytes - 1, '.')}\n`, 'latin1');
    this.counters.linesSent++;
    this.counters.unanswered++;
  }

  received(device: Device, chunk: Buffer): void {
    const { audit } = device;
    if (audit === undefined) return;
    const nowMs = performance.now();
    const text = device.rest + chunk.toString('latin1');
    let start = 0;
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      this.#reply(audit, text.slice(start, end), nowMs);
      start = end + 1;
    }
    device.rest = start === text.length ? '' : text.slice(start);
  }

  #reply(audit: SessionAudit, line: string, nowMs: number): void {
    const before = audit.received;
    audit.reply(line);
    if (audit.received === before) return;
    this.counters.replies++;
    this.counters.unanswered--;
    const plannedMs = Number(line.split(' ', 3)[2]);
    this.#listener.replied(nowMs - plannedMs, plannedMs);
  }

  /** All sessions, those under way too. */
  tallies(): SessionTally[] {
    const open = this.devices.flatMap(({ audit }) => (audit === undefined ? [] : [audit.toJSON()]));
    return [...this.#ended, ...open].filter(({ sent, received }) => sent > 0 || received > 0);
  }

  /** From here on, no device connects again. */
  beginClosing(): void {
    this.#closing = true;
  }

  /** Ends a device in good order. */
  close(device: Device): void {
    if (device.state === 'open') {
      device.socket?.end();
    } else {
      this.#deadlines.disarm(device);
      if (device.state === 'connecting') this.counters.connecting--;
      if (device.state === 'waiting') this.counters.waiting--;
      const { socket } = device;
      device.socket = undefined;
      device.state = 'over';
      socket?.destroy();
    }
  }

  /** Ends what a good order has not ended. */
  destroy(device: Device): void {
    device.socket?.destroy();
  }
}
