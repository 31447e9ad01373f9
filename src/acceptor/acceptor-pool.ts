import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Peer } from '../endpoint/endpoint-host.ts';
import type { Ending } from '../endpoint/lifecycle.ts';
import { TimingWheel } from '../util/timing-wheel.ts';
import type { AdmissionGate } from './admission.ts';
import { Handshake, handshakeOf, handshakeOfTls } from './handshake.ts';
import { type IdentityField, identityOf } from './identity.ts';

/**
 * The way in: a raw listener, the admission gate, a bounded number of TLS handshakes at once.
 *
 *   accept ──► gate ──► slot ──► TLS handshake ──► established()
 *                │                    └──► failed()
 *                └──► refused(): reset at once, never a paused accept
 *
 * No half-open connection leaves it. The handshake deadline counts from the accept, is absolute, and destroys.
 */
export interface AcceptorOptions {
  readonly host: string;
  readonly port: number;
  readonly backlog: number;
  /** Handshakes included. */
  readonly maxConnections: number;
  readonly handshakeTimeoutMs: number;
  /** 0: off. */
  readonly keepAliveMs: number;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly cert: string;
  readonly key: string;
  readonly clientAuth: 'none' | 'optional' | 'required';
  readonly clientCa: string | undefined;
  readonly identity: IdentityField;
}

/** Why a socket was reset before its handshake. */
export const REFUSAL_REASONS = ['accept_queue_full', 'max_connections'] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export interface AcceptorHandlers {
  nextConnectionId(): string;
  established(connectionId: string, socket: TLSSocket, peer: Peer, handshakeMs: number): void;
  failed(handshake: Handshake, ending: Ending): void;
  refused(reason: RefusalReason): void;
  /** Connections that are established and not closed. */
  openConnections(): number;
  /** The system could not accept a connection: EMFILE, ENFILE, ENOBUFS, … */
  acceptFailed(error: NodeJS.ErrnoException): void;
  handshakeStarted(): void;
}

const WHEEL_TICK_MS = 100;
const WHEEL_SLOTS = 512;
const CLOSE_GRACE_MS = 2_000;

export class AcceptorPool {
  readonly #options: AcceptorOptions;
  readonly #gate: AdmissionGate<Handshake>;
  readonly #handlers: AcceptorHandlers;
  readonly #now: () => number;
  readonly #listener: Server;
  readonly #tls: TlsServer;
  readonly #deadlines: TimingWheel<Handshake>;
  readonly #sweep: NodeJS.Timeout;
  readonly #pending = new Set<Handshake>();
  readonly #onNonePending: (() => void)[] = [];

  constructor(
    options: AcceptorOptions,
    gate: AdmissionGate<Handshake>,
    handlers: AcceptorHandlers,
    now: () => number,
  ) {
    this.#options = options;
    this.#gate = gate;
    this.#handlers = handlers;
    this.#now = now;
    this.#deadlines = new TimingWheel(WHEEL_TICK_MS, WHEEL_SLOTS, now(), (handshake) =>
      this.#timedOut(handshake),
    );
    this.#sweep = setInterval(() => this.#deadlines.sweep(now()), WHEEL_TICK_MS);
    this.#listener = createServer({
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: options.keepAliveMs > 0,
      keepAliveInitialDelay: options.keepAliveMs,
    });
    this.#listener.on('connection', (socket) => this.#accepted(socket));
    this.#tls = createTlsServer({
      cert: options.cert,
      key: options.key,
      ca: options.clientCa,
      minVersion: options.minVersion,
      requestCert: options.clientAuth !== 'none',
      // Checked in #secured, where the reason can be named.
      rejectUnauthorized: false,
      // Its default is a hash of the command line, which differs between workers and machines.
      sessionIdContext: 'owsla',
      // Ours comes first; this one only says that it passed, and would leave the descriptor open.
      handshakeTimeout: options.handshakeTimeoutMs + 1_000,
    });
    this.#tls.on('secureConnection', (socket) => this.#secured(socket));
    this.#tls.on('tlsClientError', (error, socket) => this.#tlsFailed(error, socket));
  }

  /**
   * Listens; returns the port.
   * @throws the listen error of the system (EADDRINUSE, EACCES, …)
   */
  listen(): Promise<number> {
    const { host, port, backlog } = this.#options;
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen({ host, port, backlog }, () => {
        this.#listener.off('error', reject);
        // From here on an error is one of accept: a descriptor limit, say. The listener goes on.
        this.#listener.on('error', (error) => this.#handlers.acceptFailed(error));
        const address = this.#listener.address();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  /** Accepts no more. Handshakes under way have a short while to complete; resolves when none is left. */
  async close(): Promise<void> {
    if (this.#listener.listening) this.#listener.close();
    const giveUp = setTimeout(() => {
      for (const handshake of this.#pending) this.#fail(handshake, { reason: 'shutdown' });
    }, CLOSE_GRACE_MS);
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#onNonePending.push(resolve));
    clearTimeout(giveUp);
    clearInterval(this.#sweep);
  }

  #accepted(socket: Socket): void {
    // A peer that is gone already has no address, and nothing to be told.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    if (this.#pending.size + this.#handlers.openConnections() >= this.#options.maxConnections) {
      this.#refuse(socket, 'max_connections');
      return;
    }
    const now = this.#now();
    const handshake = new Handshake(this.#handlers.nextConnectionId(), socket, now);
    const verdict = this.#gate.offer(handshake, now);
    if (verdict === 'refuse') {
      this.#refuse(socket, 'accept_queue_full');
      return;
    }
    this.#pending.add(handshake);
    // Errors of the socket are followed by its close.
    socket.on('error', ignore);
    socket.on('close', this.#rawClosed);
    this.#deadlines.arm(handshake, now + this.#options.handshakeTimeoutMs);
    if (verdict === 'start') this.#start(handshake);
  }

  #refuse(socket: Socket, reason: RefusalReason): void {
    socket.on('error', ignore);
    socket.resetAndDestroy();
    this.#handlers.refused(reason);
  }

  #start(handshake: Handshake): void {
    handshake.started = true;
    this.#handlers.handshakeStarted();
    this.#tls.emit('connection', handshake.socket);
  }

  #secured(socket: TLSSocket): void {
    const handshake = handshakeOfTls(socket);
    if (handshake === undefined || handshake.failure !== undefined) {
      socket.destroy();
      return;
    }
    const identified = this.#identify(socket);
    if ('problem' in identified) {
      this.#fail(handshake, { reason: 'client_certificate', detail: identified.problem });
      return;
    }
    handshake.socket.off('close', this.#rawClosed);
    this.#finish(handshake);
    const { connectionId, remoteAddress, remotePort, acceptedAtMs } = handshake;
    const peer = { remoteAddress, remotePort, deviceId: identified.deviceId };
    this.#handlers.established(connectionId, socket, peer, this.#now() - acceptedAtMs);
  }

  #identify(socket: TLSSocket): { deviceId: string | undefined } | { problem: string } {
    const { clientAuth, identity } = this.#options;
    if (clientAuth === 'none') return { deviceId: undefined };
    const certificate = socket.getPeerCertificate();
    if (certificate === null || Object.keys(certificate).length === 0) {
      return clientAuth === 'optional'
        ? { deviceId: undefined }
        : { problem: 'no client certificate was offered' };
    }
    if (!socket.authorized)
      return { problem: `client certificate refused: ${String(socket.authorizationError)}` };
    // OpenSSL looks at the dates in a full handshake only; a resumed session brings its old verdict along.
    if (Date.parse(certificate.valid_to) < Date.now()) return { problem: 'client certificate has expired' };
    const deviceId = identityOf(certificate, identity);
    return deviceId === undefined
      ? { problem: `client certificate has no ${identity} to take the device_id from (tls.identity)` }
      : { deviceId };
  }

  #tlsFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const handshake = handshakeOfTls(socket);
    if (handshake === undefined) socket.destroy();
    else this.#fail(handshake, { reason: 'tls_error', detail: error.code ?? error.message });
  }

  #timedOut(handshake: Handshake): void {
    const limit = this.#options.handshakeTimeoutMs;
    const value = Math.round(this.#now() - handshake.acceptedAtMs);
    this.#fail(handshake, { reason: 'handshake_timeout', limit, value });
  }

  /** The first reason counts; the close of the raw socket, which takes the TLS socket along, reports it. */
  #fail(handshake: Handshake, ending: Ending): void {
    handshake.failure ??= ending;
    handshake.socket.destroy();
  }

  /** One listener for all sockets: `this` is the socket. */
  readonly #rawClosed = ((pool: AcceptorPool) =>
    function rawClosed(this: Socket): void {
      const handshake = handshakeOf(this);
      if (handshake === undefined) return;
      pool.#finish(handshake);
      pool.#handlers.failed(
        handshake,
        handshake.failure ?? {
          reason: 'tls_error',
          detail: 'the peer closed before the handshake was complete',
        },
      );
    })(this);

  /** Frees the slot, or the place in the line, and lets the next one start. */
  #finish(handshake: Handshake): void {
    handshake.detach();
    this.#pending.delete(handshake);
    if (this.#pending.size === 0) for (const resolve of this.#onNonePending.splice(0)) resolve();
    this.#deadlines.disarm(handshake);
    if (!handshake.started) {
      this.#gate.withdraw(handshake);
      return;
    }
    const next = this.#gate.release(this.#now());
    if (next !== undefined) this.#start(next);
  }
}

function ignore(): void {}
