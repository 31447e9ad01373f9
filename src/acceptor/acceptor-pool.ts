import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Ending } from '../endpoint/lifecycle.ts';
import { unmapped } from '../util/networks.ts';
import { TimingWheel } from '../util/timing-wheel.ts';
import type { AcceptorHandlers, AcceptorOptions, RefusalReason } from './acceptor-options.ts';
import { addressGroup } from './address-group.ts';
import type { AdmissionGate } from './admission.ts';
import type { HandshakeKind } from './client-hello.ts';
import { identifyClient } from './client-identity.ts';
import { FirstFlight } from './first-flight.ts';
import { Handshake, handshakeOf, handshakeOfTls } from './handshake.ts';
import { ProxyHeaderParser } from './proxy-protocol.ts';
import { TurnPacer } from './turn-pacer.ts';

const WHEEL_TICK_MS = 100;
const WHEEL_SLOTS = 512;
/** How often the line is looked through, and the event loop's delay judged. */
const GATE_TICK_MS = 50;
/** A socket that is younger may only not have got round to its ClientHello. */
const SILENT_GRACE_MS = 500;
/** Part of the handshake deadline after which a slot is given back though the client has not gone on. */
const SLOT_SHARE = 1 / 4;
const CLOSE_GRACE_MS = 2_000;

/**
 * The way in: a raw listener, what is looked at before TLS, a bounded number of TLS handshakes at once.
 *
 *   accept ──► PROXY header ──► address limits ──► ClientHello ──► gate ──► TLS handshake ──► established()
 *      │            │                 │                │            │             └──► failed()
 *      └────────────┴─────────────────┴────────────────┴────────────┴──► refused(): reset at once
 *
 * No half-open connection leaves it. Accepting is never paused: that would fill the backlog with clients that have
 * given up. The handshake deadline counts from the accept, is absolute, and destroys.
 */
export class AcceptorPool {
  readonly #options: AcceptorOptions;
  readonly #gate: AdmissionGate<Handshake>;
  readonly #handlers: AcceptorHandlers;
  readonly #now: () => number;
  readonly #listener: Server;
  readonly #tls: TlsServer;
  readonly #deadlines: TimingWheel<Handshake>;
  readonly #timers: NodeJS.Timeout[];
  readonly #pending = new Set<Handshake>();
  /** Those that have sent no ClientHello, the oldest first. */
  readonly #silent = new Set<Handshake>();
  readonly #flight: FirstFlight;
  readonly #pacer: TurnPacer;
  readonly #onNonePending: (() => void)[] = [];
  /** Their ClientHello came in this turn of the event loop, and in the one before. */
  #arrived: Handshake[] = [];
  #settled: Handshake[] = [];
  #isClosed = false;

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
      this.#deadlinePassed(handshake),
    );
    this.#timers = [
      // Once more has been read: what waits for a process that was held up is no silence.
      setInterval(() => setImmediate(() => this.#deadlines.sweep(now())), WHEEL_TICK_MS),
      setInterval(() => this.#tick(), GATE_TICK_MS),
    ];
    this.#flight = new FirstFlight({
      headerRead: (handshake, source) => this.#headerRead(handshake, source),
      headerWrong: (handshake, problem) => this.#turnAway(handshake, 'proxy_header', problem),
      helloRead: (handshake, kind) => this.#helloRead(handshake, kind),
    });
    this.#pacer = new TurnPacer(() => this.#startNext(), options.turnBudgetMs, now);
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
      ecdhCurve: options.groups,
      requestCert: options.clientAuth !== 'none',
      // Checked in #secured, where the reason can be named.
      rejectUnauthorized: false,
      // Its default is a hash of the command line, which differs between workers and machines.
      sessionIdContext: 'owsla',
      sessionTimeout: Math.ceil(options.sessionLifetimeMs / 1_000),
      ticketKeys: options.ticketKeys,
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
    // A free port of its own for each worker would be none that devices know. A Node that cannot ignores it.
    const reusePort = this.#options.reusePort && port !== 0 && process.platform === 'linux';
    const options: ListenOptions & { reusePort: boolean } = { host, port, backlog, reusePort };
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(options, () => {
        this.#listener.off('error', reject);
        // From here on an error is one of accept: a descriptor limit, say. The listener goes on.
        this.#listener.on('error', (error) => this.#handlers.acceptFailed(error));
        const address = this.#listener.address();
        if (this.#isClosed) this.#listener.close();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  /** Accepts no more. Handshakes under way have a short while to complete; resolves when none is left. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#listener.listening) this.#listener.close();
    const giveUp = setTimeout(() => {
      for (const handshake of this.#pending) this.#fail(handshake, { reason: 'shutdown' });
    }, CLOSE_GRACE_MS);
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#onNonePending.push(resolve));
    clearTimeout(giveUp);
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** Permits have come: those who wait for one may start. */
  wake(): void {
    this.#pacer.kick();
  }

  /** New tickets are sealed with these 48 bytes, and only such are opened. */
  setTicketKeys(keys: Buffer): void {
    this.#tls.setTicketKeys(keys);
  }

  /** An established connection has ended: it counts no more for its address. */
  connectionClosed(remoteAddress: string, flapped: boolean): void {
    const { addresses } = this.#options;
    if (addresses === undefined || addresses.exempt.has(remoteAddress)) return;
    const group = addressGroup(remoteAddress);
    if (flapped) addresses.table.failed(group, this.#now());
    addresses.table.closed(group);
  }

  #tick(): void {
    const now = this.#now();
    this.#gate.adjust(this.#handlers.loopDelayMs());
    this.#handlers.ticked();
    for (let late = this.#gate.overdue(now); late !== undefined; late = this.#gate.overdue(now))
      this.#turnAway(late.socket, late.reason);
    this.#pacer.kick();
  }

  // ── before the ClientHello ───────────────────────────────────────────────────────────────────────────────

  #accepted(socket: Socket): void {
    const { remoteAddress } = socket;
    // A peer that is gone already has no address, and nothing to be told.
    if (remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const { maxConnections, maxSilent, handshakeTimeoutMs, proxy } = this.#options;
    if (proxy !== undefined && !proxy.trusted.has(remoteAddress)) {
      this.#reset(socket, 'proxy_untrusted', remoteAddress);
      return;
    }
    if (this.#handlers.hasBrokerBacklog()) {
      this.#reset(socket, 'broker_backlog', remoteAddress);
      return;
    }
    const now = this.#now();
    if (this.#silent.size >= maxSilent) this.#makeRoom(now);
    const isFull = () => this.#pending.size + this.#handlers.openConnections() >= maxConnections();
    // The one that has to go is gone once its close is reported; this one takes its descriptor's place.
    if (isFull() && !this.#makeRoom(now)) {
      this.#reset(socket, 'max_connections', remoteAddress);
      return;
    }
    const phase = proxy === undefined ? 'hello' : 'proxy';
    const handshake = new Handshake(this.#handlers.nextConnectionId(), socket, now, phase);
    // Errors of the socket are followed by its close.
    socket.on('error', ignore);
    if (proxy !== undefined) handshake.proxyParser = new ProxyHeaderParser(proxy.maxHeaderBytes);
    else if (!this.#admitAddress(handshake, now)) return;
    socket.on('close', this.#rawClosed);
    this.#pending.add(handshake);
    this.#silent.add(handshake);
    const patienceMs = Math.min(proxy?.headerTimeoutMs ?? handshakeTimeoutMs, handshakeTimeoutMs);
    this.#deadlines.arm(handshake, now + patienceMs);
    this.#flight.begin(handshake);
  }

  /** Turns the longest silent socket away; false when there is none that has been so for long. */
  #makeRoom(now: number): boolean {
    for (const handshake of this.#silent) {
      if (now - handshake.acceptedAtMs < SILENT_GRACE_MS) return false;
      this.#turnAway(handshake, 'no_hello');
      return true;
    }
    return false;
  }

  #headerRead(handshake: Handshake, source: { address: string; port: number } | undefined): boolean {
    const { handshakeTimeoutMs } = this.#options;
    this.#deadlines.arm(handshake, handshake.acceptedAtMs + handshakeTimeoutMs);
    const { remoteAddress, remotePort } = handshake;
    // HAProxy's checks with version 1 name its own end where others say UNKNOWN.
    const isItself = source?.port === remotePort && source.address === unmapped(remoteAddress);
    if (source === undefined || isItself) {
      handshake.isHealthCheck = true;
      return true;
    }
    handshake.transport = { remoteAddress, remotePort };
    handshake.remoteAddress = source.address;
    handshake.remotePort = source.port;
    return this.#admitAddress(handshake, this.#now());
  }

  #admitAddress(handshake: Handshake, now: number): boolean {
    const { addresses } = this.#options;
    if (addresses === undefined || addresses.exempt.has(handshake.remoteAddress)) return true;
    const refusal = addresses.table.admit(addressGroup(handshake.remoteAddress), now);
    handshake.isCounted = refusal === undefined;
    if (refusal !== undefined) this.#turnAway(handshake, refusal);
    return refusal === undefined;
  }

  /** Resets a socket that was accepted and has failed at nothing. No event: nothing is known of the device. */
  #turnAway(handshake: Handshake, reason: RefusalReason, detail?: string): void {
    handshake.isRefused = true;
    this.#silent.delete(handshake);
    this.#reset(handshake.socket, reason, handshake.remoteAddress, detail);
  }

  #reset(socket: Socket, reason: RefusalReason, remoteAddress: string, detail?: string): void {
    if (socket.listenerCount('error') === 0) socket.on('error', ignore);
    // Its FIN has been read and Node closes our side: libuv refuses to reset that, and no close would be reported.
    if (socket.writableEnded) socket.destroy();
    else socket.resetAndDestroy();
    this.#handlers.refused(reason, remoteAddress, detail);
  }

  // ── from the ClientHello on ──────────────────────────────────────────────────────────────────────────────

  /**
   * Not in line yet: a client that has given up shows it by what follows its ClientHello, and that is read when the
   * event loop has turned once more. After an overload whole queues are like that, and a handshake with each would be
   * the end.
   */
  #helloRead(handshake: Handshake, kind: HandshakeKind): void {
    this.#silent.delete(handshake);
    handshake.phase = 'line';
    handshake.kind = kind;
    if (this.#arrived.length + this.#settled.length === 0) setImmediate(this.#turned);
    this.#arrived.push(handshake);
  }

  readonly #turned = (): void => {
    const now = this.#now();
    for (const handshake of this.#settled) {
      if (isGone(handshake)) continue;
      const refused = this.#gate.offer(handshake, handshake.kind, now);
      if (refused !== undefined) this.#turnAway(refused.socket, refused.reason);
    }
    this.#settled = this.#arrived;
    this.#arrived = [];
    if (this.#settled.length > 0) setImmediate(this.#turned);
    this.#pacer.kick();
  };

  #startNext(): boolean {
    const now = this.#now();
    const admitted = this.#gate.next(now);
    if (admitted === undefined) return false;
    const handshake = admitted.socket;
    handshake.holdsSlot = true;
    // Its close will be reported in a moment.
    if (isGone(handshake)) return true;
    handshake.phase = 'tls';
    this.#armDeadline(handshake, now + this.#options.handshakeTimeoutMs * SLOT_SHARE);
    this.#handlers.handshakeStarted(handshake.kind, admitted.waitedMs);
    this.#flight.end(handshake);
    this.#tls.emit('connection', handshake.socket);
    return true;
  }

  #secured(socket: TLSSocket): void {
    const handshake = handshakeOfTls(socket);
    if (handshake === undefined || handshake.failure !== undefined) {
      socket.destroy();
      return;
    }
    const identified = identifyClient(socket, this.#options.clientAuth, this.#options.identity);
    if ('problem' in identified) {
      this.#fail(handshake, { reason: 'client_certificate', detail: identified.problem });
      return;
    }
    this.#finish(handshake);
    if (handshake.kind === 'resumed' && !socket.isSessionReused()) this.#handlers.notResumed();
    const { connectionId, remoteAddress, remotePort, transport, isHealthCheck, acceptedAtMs } = handshake;
    const peer = { remoteAddress, remotePort, deviceId: identified.deviceId, transport, isHealthCheck };
    this.#handlers.established(connectionId, socket, peer, this.#now() - acceptedAtMs);
  }

  #tlsFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const handshake = handshakeOfTls(socket);
    if (handshake === undefined) socket.destroy();
    else this.#fail(handshake, { reason: 'tls_error', detail: error.code ?? error.message });
  }

  #armDeadline(handshake: Handshake, dueMs: number): void {
    const lastMs = handshake.acceptedAtMs + this.#options.handshakeTimeoutMs;
    this.#deadlines.arm(handshake, Math.min(dueMs, lastMs));
  }

  #deadlinePassed(handshake: Handshake): void {
    const limit = this.#options.handshakeTimeoutMs;
    const now = this.#now();
    if (handshake.phase === 'proxy') {
      this.#turnAway(handshake, 'proxy_timeout');
    } else if (now - handshake.acceptedAtMs < limit) {
      // Its client has not gone on; another may, meanwhile.
      this.#releaseSlot(handshake);
      this.#armDeadline(handshake, Number.POSITIVE_INFINITY);
      this.#pacer.kick();
    } else {
      const value = Math.round(now - handshake.acceptedAtMs);
      this.#fail(handshake, { reason: 'handshake_timeout', limit, value });
    }
  }

  /** The first reason counts; the close of the raw socket, which takes the TLS socket along, reports it. */
  #fail(handshake: Handshake, ending: Ending): void {
    handshake.failure ??= ending;
    if (handshake.phase === 'line') this.#gate.withdraw(handshake);
    handshake.socket.destroy();
  }

  /** One listener for all sockets, which stays on those that get established: `this` is the socket. */
  readonly #rawClosed = ((pool: AcceptorPool) =>
    function rawClosed(this: Socket): void {
      const handshake = handshakeOf(this);
      if (handshake !== undefined) pool.#closed(handshake);
    })(this);

  #closed(handshake: Handshake): void {
    const { failure, isRefused, isHealthCheck, phase, kind } = handshake;
    if (handshake.isCounted) {
      const { table } = this.#options.addresses!;
      const group = addressGroup(handshake.remoteAddress);
      // Whoever went while he waited for us has done nothing wrong.
      if (!isRefused && failure?.reason !== 'shutdown' && phase !== 'line') table.failed(group, this.#now());
      table.closed(group);
    }
    this.#finish(handshake);
    if (phase === 'tls' && kind === 'resumed') this.#handlers.notResumed();
    if (!isRefused && phase === 'line' && failure === undefined) {
      this.#handlers.refused('gave_up', handshake.remoteAddress);
      return;
    }
    // A load balancer that only looks whether somebody is there says no more than its header, if that.
    if (isRefused || phase === 'proxy' || (isHealthCheck && phase === 'hello')) return;
    this.#handlers.failed(
      handshake,
      failure ?? { reason: 'tls_error', detail: 'the peer closed before the handshake was complete' },
    );
  }

  /** Frees the slot, or the place in the line, and lets the next one start. */
  #finish(handshake: Handshake): void {
    handshake.detach();
    this.#pending.delete(handshake);
    this.#silent.delete(handshake);
    if (this.#pending.size === 0) for (const resolve of this.#onNonePending.splice(0)) resolve();
    this.#deadlines.disarm(handshake);
    if (handshake.phase === 'line') this.#gate.withdraw(handshake);
    this.#releaseSlot(handshake);
    this.#pacer.kick();
  }

  #releaseSlot(handshake: Handshake): void {
    if (!handshake.holdsSlot) return;
    handshake.holdsSlot = false;
    this.#gate.release();
  }
}

function isGone({ socket }: Handshake): boolean {
  return socket.destroyed || socket.readableEnded;
}

function ignore(): void {}
