import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { AcceptorPool } from './acceptor/acceptor-pool.ts';
import { type AdmissionGate, OverloadGate } from './acceptor/admission.ts';
import { connectionsWithinDescriptorLimit } from './acceptor/descriptor-limit.ts';
import type { Handshake } from './acceptor/handshake.ts';
import type { MachineShare } from './acceptor/machine-share.ts';
import { SlotLimit } from './acceptor/slot-limit.ts';
import { TicketRotation } from './acceptor/ticket-rotation.ts';
import { Broker } from './broker/broker.ts';
import { shardQueues } from './broker/shard.ts';
import type { LoadedFiles } from './config/files.ts';
import type { Config } from './config/schema.ts';
import { Endpoint } from './endpoint/endpoint.ts';
import type { EndpointHost, EndpointLimits, Peer } from './endpoint/endpoint-host.ts';
import type { Ending } from './endpoint/lifecycle.ts';
import { peerStates, remoteEndOf } from './endpoint/peer-watch.ts';
import type { ReplyLane } from './endpoint/reply-lane.ts';
import { LifecycleEvents } from './observability/lifecycle-events.ts';
import type { Metrics } from './observability/metrics.ts';
import { ConnectionIdFactory, type NodeId, randomNodeId } from './registry/connection-id.ts';
import { LocalRegistry } from './registry/registry.ts';
import { Router } from './registry/router.ts';
import { Burst } from './util/burst.ts';
import { collectGarbage } from './util/collect-garbage.ts';
import { Digest } from './util/digest.ts';
import { jitter } from './util/jitter.ts';
import { LoopDelay } from './util/loop-delay.ts';
import { Networks } from './util/networks.ts';
import { TimingWheel } from './util/timing-wheel.ts';
import { tlsGroups } from './util/tls-groups.ts';

/**
 * One gateway node: the only file that knows all its parts.
 *
 *   device ──TLS──► AcceptorPool ──► Endpoint ──► Producer ──► from_device ──► backend
 *     ▲             admission,       framing,     window,                        │
 *     │             handshakes       sequence     confirms                       │
 *     │                                                                          ▼
 *     └──────────── Endpoint ◄────── Router ◄──── Consumers ◄── to_device, own inbox
 *                   resequencer,     who owns     prefetch,
 *                   outbox           it?          ack after delivery
 *                                     └──► Forwarder ──► another node's inbox
 */
export interface GatewayOptions {
  readonly config: Config;
  readonly files: LoadedFiles;
  /** What the keys of TLS session tickets are derived from. */
  readonly ticketSecret: string;
  /** Limits that the workers of this machine have in common. */
  readonly machine: MachineShare;
}

/** How much a drain left behind. */
export interface DrainResult {
  /** Frames that were read and not confirmed when the deadline passed. */
  readonly unconfirmedFrames: number;
}

const WHEEL_TICK_MS = 250;
const WHEEL_SLOTS = 2_048;
/** After a storm of so many connections that came or went, memory is given back once few do for a while. */
const STORM_CONNECTIONS = 1_000;
const CALM_CONNECTIONS_PER_S = 20;
const CALM_FOR_MS = 5_000;
const now = () => performance.now();

export class Gateway {
  readonly nodeId: NodeId = randomNodeId();
  /** This node, and those whose inboxes it has adopted. */
  readonly #ownNodes = new Set([this.nodeId]);
  readonly #config: Config;
  #maxConnections: number;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #registry = new LocalRegistry<Endpoint>();
  readonly #ids = new ConnectionIdFactory(this.nodeId);
  readonly #events = new LifecycleEvents(this.nodeId);
  readonly #broker: Broker;
  readonly #machine: MachineShare;
  readonly #gate: AdmissionGate<Handshake>;
  readonly #loopDelay = new LoopDelay();
  readonly #tickets: TicketRotation;
  readonly #acceptors: AcceptorPool;
  readonly #host: EndpointHost;
  readonly #deadlines: TimingWheel<Endpoint>;
  readonly #sweep: NodeJS.Timeout;
  readonly #descriptorCheck: NodeJS.Timeout;
  /** Endpoints whose end is not complete, the registered ones included. */
  readonly #alive = new Set<Endpoint>();
  /** Those whose socket is gone while what they had sent waits for room, and how much memory they take. */
  readonly #left = new Map<Endpoint, number>();
  #leftBytes = 0;
  /** Those whose reads are paused: nobody but the kernel notices when their peer goes. */
  readonly #paused = new Set<Endpoint>();
  /** Those with replies that are not settled. */
  readonly #holding = new Set<ReplyLane>();
  /** Connections that come and go. */
  readonly #churn = new Burst(STORM_CONNECTIONS, CALM_CONNECTIONS_PER_S, CALM_FOR_MS, now());
  #pausedPeerCheck: NodeJS.Timeout | undefined;
  #onAllClosed: () => void = () => {};
  /** Refusals since the last line about them, by reason, and when the next line is due. */
  readonly #refusals = new Map<string, Digest>();
  readonly #tooFast = new Digest(LOG_QUIET_MS);

  constructor(options: GatewayOptions, metrics: Metrics, log: Logger) {
    const { config, files, ticketSecret, machine } = options;
    this.#config = config;
    this.#metrics = metrics;
    this.#log = log.child({ node: this.nodeId });
    this.#maxConnections = mostConnections(config, Number.POSITIVE_INFINITY);
    this.#descriptorCheck = setInterval(() => this.#lookAtDescriptorLimit(), DESCRIPTOR_CHECK_MS);
    this.#deadlines = new TimingWheel(WHEEL_TICK_MS, WHEEL_SLOTS, now(), (endpoint, nowMs) =>
      endpoint.deadlinePassed(nowMs),
    );
    this.#sweep = setInterval(() => this.#everyTick(), WHEEL_TICK_MS);
    this.#broker = this.#createBroker(files);
    this.#host = this.#createHost();
    this.#machine = machine;
    this.#gate = overloadGate(config, machine);
    this.#tickets = new TicketRotation(ticketSecret, files.tls.clientCa ?? '', (keys) =>
      this.#acceptors.setTicketKeys(keys),
    );
    this.#acceptors = this.#createAcceptors(files);
    metrics.observe({
      admissionWaiting: () => this.#gate.waiting.full + this.#gate.waiting.resumed,
      admissionSlots: () => this.#gate.slots,
      trackedAddresses: () => machine.addresses?.size ?? 0,
      connections: () => this.#registry.size,
      loopDelays: () => this.#loopDelay.takeAll(),
      unconfirmedFrames: () => this.#broker.producer.unconfirmedFrames,
      unconfirmedBytes: () => this.#broker.producer.unconfirmedBytes,
    });
  }

  /** Told when the broker round trip begins or ceases to work. */
  onBroker(listener: (works: boolean, reason: string) => void): void {
    this.#broker.roundTrip.onChange(listener);
  }

  /** Connects to the broker, and goes on trying. */
  connect(): void {
    this.#broker.start();
    this.#broker.events.publish(this.#events.node('node.up'));
  }

  /** Gives the replies in the inbox of a node that is gone their fate, and those in the shared queue too. */
  adopt(node: NodeId): void {
    this.#ownNodes.add(node);
    this.#broker.adopt(node);
  }

  /**
   * Accepts devices; returns the port.
   * @throws the listen error of the system
   */
  async listen(): Promise<number> {
    const port = await this.#acceptors.listen();
    const { pausedPeerCheckMs } = this.#config.endpoint;
    if (pausedPeerCheckMs > 0)
      this.#pausedPeerCheck = setInterval(() => void this.#checkPausedPeers(port), pausedPeerCheckMs);
    return port;
  }

  /** The machine's limits may let more in than a moment ago. */
  permitsChanged(): void {
    this.#acceptors.wake();
  }

  get #sockets(): number {
    return this.#alive.size - this.#left.size;
  }

  /** It can be changed while the process runs (prlimit). */
  #lookAtDescriptorLimit(): void {
    const maxConnections = mostConnections(this.#config, this.#maxConnections);
    if (maxConnections === this.#maxConnections) return;
    this.#maxConnections = maxConnections;
    this.#log.warn({ maxConnections, connections: this.#sockets }, 'the limit of open files has changed');
  }

  async #checkPausedPeers(port: number): Promise<void> {
    if (this.#paused.size === 0) return;
    // Those that pause while the table is read may not be in it yet.
    const paused = [...this.#paused];
    const states = await peerStates(port);
    if (states === undefined) return;
    const mayWait = this.#sockets < this.#maxConnections * CROWDED;
    for (const endpoint of paused) {
      const { remoteAddress, remotePort } = endpoint.peer.transport ?? endpoint.peer;
      if (this.#paused.has(endpoint))
        endpoint.peerSeen(states.get(remoteEndOf(remoteAddress, remotePort)) ?? 'gone', mayWait);
    }
  }

  /**
   * Stops without loss: no new connections, close the present ones at the configured rate, hand on what they had
   * sent, settle the replies that were taken, wait for the broker's confirms.
   */
  async drain(): Promise<DrainResult> {
    const { timeoutMs } = this.#config.shutdown;
    const deadline = new Promise<'late'>((resolve) => setTimeout(resolve, timeoutMs, 'late').unref());
    this.#tickets.stop();
    await Promise.race([this.#close(), deadline]);
    let { unconfirmedFrames } = this.#broker.producer;
    for (const endpoint of this.#alive) unconfirmedFrames += endpoint.abandonFrames();
    clearInterval(this.#sweep);
    clearInterval(this.#descriptorCheck);
    clearInterval(this.#pausedPeerCheck);
    await Promise.race([this.#broker.stop(), deadline]);
    return { unconfirmedFrames };
  }

  #everyTick(): void {
    // Once more has been read: a process that was held up must not take what waits for it for silence.
    setImmediate(() => this.#deadlines.sweep(now()));
    if (this.#churn.isOver(now())) collectGarbage();
    const excessBytes = this.#broker.congestion();
    if (excessBytes > 0) this.#relieve(excessBytes);
  }

  /**
   * Some devices' replies have filled the memory for replies and a consumer's prefetch, and hold up everybody else's.
   * Those that hold most without getting on have to let go, until there is room again.
   */
  #relieve(excessBytes: number): void {
    const stuck = [...this.#holding]
      .filter((lane) => lane.isStuck(WHEEL_TICK_MS))
      .sort((a, b) => b.heldBytes - a.heldBytes);
    let freed = 0;
    for (const lane of stuck) {
      if (freed >= excessBytes) return;
      freed += lane.heldBytes;
      lane.letGo();
    }
  }

  async #close(): Promise<void> {
    await this.#acceptors.close();
    await this.#closeConnections();
    await this.#settle();
  }

  async #settle(): Promise<void> {
    this.#broker.events.publish(this.#events.node('node.down'));
    // Consuming goes on until every connection is closed: replies that come meanwhile get their fate at once.
    await this.#broker.stopConsuming();
    await this.#broker.idle();
    // The last confirms have released the last acks, which leave at the end of the turn.
    await new Promise(setImmediate);
  }

  /** Ends all connections, some at each tick, and resolves when the last is closed. */
  async #closeConnections(): Promise<void> {
    const { closeRate } = this.#config.shutdown;
    const tickMs = Math.max(CLOSE_TICK_MS, 1_000 / closeRate);
    const perTick = Math.round((closeRate * tickMs) / 1_000);
    while (this.#registry.size > 0) {
      let ended = 0;
      for (const endpoint of this.#registry.targets()) {
        if (ended++ === perTick) break;
        endpoint.end({ reason: 'shutdown' });
      }
      if (this.#registry.size > 0) await new Promise((resolve) => setTimeout(resolve, tickMs * jitter()));
    }
    if (this.#alive.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
    });
  }

  #established(connectionId: string, socket: TLSSocket, peer: Peer, handshakeMs: number): void {
    const resumed = socket.isSessionReused();
    this.#metrics.handshakeSucceeded(handshakeMs, resumed);
    const endpoint = new Endpoint(this.#host, connectionId, socket, peer);
    this.#alive.add(endpoint);
    this.#churn.add();
    this.#registry.register(endpoint);
    if (peer.isHealthCheck) return;
    const tls = { protocol: socket.getProtocol(), cipher: socket.getCipher().name, resumed };
    this.#broker.events.publish(this.#events.opened(endpoint, tls));
  }

  /** Counted each time, logged once in a while. */
  #refused(reason: string, remoteAddress?: string, detail?: string): void {
    this.#metrics.connectionRefused(reason);
    const refusals = this.#refusals.get(reason) ?? new Digest(LOG_QUIET_MS);
    this.#refusals.set(reason, refusals);
    const count = refusals.add(now());
    if (count === 0) return;
    this.#log.warn(
      { reason, count, remoteAddress, detail, connections: this.#sockets },
      'new connections are refused',
    );
  }

  #attemptFailed(handshake: Handshake, ending: Ending): void {
    this.#metrics.handshakeFailed(ending.reason, handshake.phase === 'tls');
    if (handshake.isHealthCheck) return;
    this.#broker.events.publish(
      this.#events.attemptFailed(handshake, ending, now() - handshake.acceptedAtMs),
    );
    if (!this.#log.isLevelEnabled('debug')) return;
    const { connectionId, remoteAddress } = handshake;
    this.#log.debug({ connectionId, remoteAddress, ...ending }, 'handshake failed');
  }

  /** It makes room for another; its end is complete once the broker has taken what it had sent. */
  #socketGone(endpoint: Endpoint, leftBytes: number): void {
    this.#left.set(endpoint, leftBytes);
    this.#leftBytes += leftBytes;
    const { remoteAddress, isHealthCheck } = endpoint.peer;
    const flapped = now() - endpoint.openedAtMs < this.#config.address.flapMs;
    if (!isHealthCheck) this.#acceptors.connectionClosed(remoteAddress, flapped);
  }

  #closed(endpoint: Endpoint, ending: Ending): void {
    const durationMs = now() - endpoint.openedAtMs;
    this.#metrics.connectionClosed(ending.reason);
    if (!endpoint.peer.isHealthCheck)
      this.#broker.events.publish(this.#events.closed(endpoint, ending, durationMs));
    this.#alive.delete(endpoint);
    this.#leftBytes -= this.#left.get(endpoint) ?? 0;
    this.#left.delete(endpoint);
    this.#churn.add();
    if (this.#alive.size === 0) this.#onAllClosed();
    if (!this.#log.isLevelEnabled('debug')) return;
    const { connectionId, peer, framesReceived, framesSent } = endpoint;
    this.#log.debug(
      { connectionId, ...peer, ...ending, durationMs: Math.round(durationMs), framesReceived, framesSent },
      'connection closed',
    );
  }

  #createHost(): EndpointHost {
    const metrics = this.#metrics;
    const dirty: ReplyLane[] = [];
    const flushDirty = () => {
      for (const lane of dirty.splice(0)) lane.flush();
    };
    return {
      limits: endpointLimits(this.#config),
      sink: this.#broker.producer,
      deadlines: this.#deadlines,
      now,
      flushSoon: (lane) => {
        if (dirty.length === 0) process.nextTick(flushDirty);
        dirty.push(lane);
      },
      frameReceived: (bytes) => metrics.frameReceived(bytes),
      framesSent: (count, bytes) => metrics.framesSent(count, bytes),
      readsPaused: (endpoint) => {
        this.#paused.add(endpoint);
        metrics.readsPaused();
      },
      readsResumed: (endpoint) => {
        this.#paused.delete(endpoint);
        metrics.readsResumed();
      },
      rateExceeded: ({ connectionId, peer }) => {
        metrics.rateExceeded();
        const count = this.#tooFast.add(now());
        if (count === 0) return;
        this.#log.warn(
          { connectionId, ...peer, count },
          'devices send faster than endpoint.maxFramesPerSecond or maxBytesPerSecond allows, and are read more slowly',
        );
      },
      replyParked: (delta) => metrics.replyParked(delta),
      holdingChanged: (lane, holding) => {
        if (holding) this.#holding.add(lane);
        else this.#holding.delete(lane);
      },
      gapSkipped: (endpoint, gap, waitedMs) => {
        metrics.gapSkipped();
        this.#broker.events.publish(this.#events.gap(endpoint, gap, waitedMs));
        this.#log.warn(
          { connectionId: endpoint.connectionId, ...gap, waitedMs: Math.round(waitedMs) },
          'reply gap skipped',
        );
      },
      ended: (endpoint) => this.#registry.unregister(endpoint),
      socketGone: (endpoint, bytes) => this.#socketGone(endpoint, bytes + LEFT_OVERHEAD_BYTES),
      closed: (endpoint, ending) => this.#closed(endpoint, ending),
    };
  }

  #createAcceptors(files: LoadedFiles): AcceptorPool {
    const { listen, admission, address, proxy, tls, endpoint } = this.#config;
    const trusted = new Networks(proxy.trusted);
    const { addresses, permits } = this.#machine;
    const { cert, key, clientCa } = files.tls;
    if (cert === undefined || key === undefined) throw new TypeError('a gateway needs tls.cert and tls.key');
    return new AcceptorPool(
      {
        host: listen.host,
        port: listen.port,
        backlog: listen.backlog,
        reusePort: listen.reusePort,
        maxConnections: () => this.#maxConnections,
        handshakeTimeoutMs: tls.handshakeTimeoutMs,
        keepAliveMs: endpoint.keepAliveMs,
        minVersion: tls.minVersion,
        groups: tlsGroups(tls.groups),
        cert,
        key,
        clientAuth: tls.clientAuth,
        clientCa,
        identity: tls.identity,
        ticketKeys: this.#tickets.keys,
        sessionLifetimeMs: tls.sessionLifetimeMs,
        maxSilent: admission.enabled ? listen.acceptQueue : Number.POSITIVE_INFINITY,
        turnBudgetMs: admission.enabled ? HANDSHAKE_TURN_MS : Number.POSITIVE_INFINITY,
        proxy: trusted.isEmpty ? undefined : { ...proxy, trusted },
        addresses:
          addresses === undefined ? undefined : { table: addresses, exempt: new Networks(address.exempt) },
      },
      this.#gate,
      {
        nextConnectionId: () => this.#ids.next(),
        established: (id, socket, peer, handshakeMs) => this.#established(id, socket, peer, handshakeMs),
        failed: (handshake, ending) => this.#attemptFailed(handshake, ending),
        refused: (reason, remoteAddress, detail) => this.#refused(reason, remoteAddress, detail),
        acceptFailed: (error) => this.#refused(error.code ?? 'accept_failed'),
        openConnections: () => this.#sockets,
        // As much as the window: devices that come and go while it is full would take all the memory.
        hasBrokerBacklog: () => this.#leftBytes >= this.#config.amqp.windowBytes,
        handshakeStarted: (kind, waitedMs) => this.#metrics.handshakeStarted(kind, waitedMs),
        notResumed: () => permits.exchange('resumed', 'full'),
        loopDelayMs: () => this.#loopDelay.takeMean(),
        ticked: () => this.#machine.tick(this.#gate.waiting, now()),
      },
      now,
    );
  }

  #createBroker(files: LoadedFiles): Broker {
    const { amqp, reply, readiness } = this.#config;
    const names = {
      fromDevice: shardQueues(amqp.fromDevice, amqp.shards),
      deadLetter: amqp.deadLetter,
      toDevice: amqp.toDevice,
      undelivered: amqp.undelivered,
      inbox: amqp.inboxPrefix + this.nodeId,
      events: amqp.events,
    };
    // The router is made with the broker's forwarder, and no reply arrives before `connect`.
    let router: Router | undefined;
    const broker = new Broker(
      {
        link: {
          urls: amqp.url,
          tls: defined(files.amqp),
          heartbeatSeconds: amqp.heartbeatSeconds,
          connectTimeoutMs: amqp.connectTimeoutMs,
        },
        reconnectMinMs: amqp.reconnectMinMs,
        reconnectMaxMs: amqp.reconnectMaxMs,
        names,
        topology: amqp,
        inboxPrefix: amqp.inboxPrefix,
        producer: amqp,
        consumers: amqp.consumers,
        prefetch: amqp.prefetch,
        maxHeldBytes: reply.maxHeldBytes,
        forwardGraceMs: reply.forwardGraceMs,
        roundTrip: readiness,
      },
      {
        received: (delivery) => router!.route(delivery),
        setAside: (count) => {
          this.#metrics.repliesSetAside(count);
          for (const lane of this.#holding) lane.detach();
        },
        receiptDue: (delivery, outcome, detail) =>
          this.#broker.events.publish(this.#events.receipt(delivery, outcome, detail)),
      },
      this.#metrics,
      this.#log,
    );
    router = new Router(this.#ownNodes, this.#registry, broker.forwarder);
    return broker;
  }
}

const CLOSE_TICK_MS = 20;
/** Share of `maxConnections` from which those whose peer has closed have to make room. */
const CROWDED = 0.9;
/** What a connection takes once its socket is gone, beside the bytes that it has left. */
const LEFT_OVERHEAD_BYTES = 6_144;
/** What many connections can do at once is logged no more often; how many did is said with one of them. */
const LOG_QUIET_MS = 10_000;
const DESCRIPTOR_CHECK_MS = 5_000;
/** What handshakes may take of one turn of the event loop: about four of them, or one with a large RSA key. */
const HANDSHAKE_TURN_MS = 2;
/** Slots that a late event loop leaves. */
const MIN_SLOTS = 64;

/** @param unlessKnown what the limit of open files is taken to allow while it cannot be read */
function mostConnections({ listen }: Config, unlessKnown: number): number {
  const withinLimit = connectionsWithinDescriptorLimit() ?? unlessKnown;
  return Math.min(listen.maxConnections || Number.POSITIVE_INFINITY, withinLimit);
}

function overloadGate({ listen, admission }: Config, { permits }: MachineShare): AdmissionGate<Handshake> {
  const { enabled } = admission;
  const unlimited = Number.POSITIVE_INFINITY;
  const max = enabled ? listen.acceptors : unlimited;
  return new OverloadGate(
    new SlotLimit({
      min: Math.min(MIN_SLOTS, max),
      max,
      maxLoopDelayMs: enabled ? admission.maxLoopDelayMs : unlimited,
    }),
    permits,
    { ...admission, maxWaiting: listen.acceptQueue },
  );
}

function endpointLimits({ listen, endpoint, reply, ack }: Config): EndpointLimits {
  return {
    framing: listen.framing,
    maxFrameBytes: listen.maxFrameBytes,
    ...endpoint,
    gapTimeoutMs: reply.gapTimeoutMs,
    onGap: reply.onGap,
    resequencer: reply,
    maxReplyBytes: reply.maxBytes,
    maxPending: reply.maxPending,
    maxPendingBytes: reply.maxPendingBytes,
    writeTimeoutMs: reply.writeTimeoutMs,
    ack,
  };
}

function defined<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
