import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { Endpoint } from '../../../src/endpoint/endpoint.ts';
import type { EndpointHost, EndpointLimits } from '../../../src/endpoint/endpoint-host.ts';
import type { Ending } from '../../../src/endpoint/lifecycle.ts';
import type { ReplyLane } from '../../../src/endpoint/reply-lane.ts';
import type { Gap } from '../../../src/endpoint/resequencer.ts';
import type { Frame, FrameSink, FrameSource } from '../../../src/frame.ts';
import type { Reply, ReplyOutcome } from '../../../src/reply.ts';
import { TimingWheel } from '../../../src/util/timing-wheel.ts';

/** Lets everything happen that is due in this turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A device's socket without a network: a stream with the options of Node's TLSSocket, so that reads, pauses,
 * errors and closes come in Node's order.
 */
export class FakeSocket extends Duplex {
  /** What was written, each as it was handed over; the last may still be under way. */
  readonly writes: Buffer[] = [];
  /** Whether the kernel takes each write at once. */
  takesWrites = true;
  endCalled = false;
  #writeDone: ((error?: Error) => void) | undefined;

  constructor() {
    super({ allowHalfOpen: false });
  }

  /** Bytes arrive from the device. */
  arrive(bytes: string | Buffer): void {
    this.push(Buffer.from(bytes));
  }

  /** The device closes its side. */
  arriveEnd(): void {
    this.push(null);
  }

  get isWriting(): boolean {
    return this.#writeDone !== undefined;
  }

  /** The kernel takes the write under way, or fails to. */
  takeWrite(error?: Error): void {
    const done = this.#writeDone;
    if (done === undefined) throw new Error('no write is under way');
    this.#writeDone = undefined;
    done(error);
  }

  override end(...args: unknown[]): this {
    this.endCalled = true;
    return super.end(...(args as []));
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.writes.push(chunk);
    if (this.takesWrites) done();
    else this.#writeDone = done;
  }
}

/** A reply that remembers what became of it. */
export class FakeReply implements Reply {
  readonly body: Buffer;
  readonly toDeviceSeq: number | undefined;
  readonly expiresAtMs: number | undefined;
  detached = false;
  readonly outcomes: ReplyOutcome[] = [];

  constructor(body: string | Buffer, toDeviceSeq?: number, expiresAtMs?: number) {
    this.body = Buffer.from(body);
    this.toDeviceSeq = toDeviceSeq;
    this.expiresAtMs = expiresAtMs;
  }

  get byteLength(): number {
    return this.body.length;
  }

  get heldBytes(): number {
    return this.body.length;
  }

  detach(): void {
    this.detached = true;
  }

  settle(outcome: ReplyOutcome): void {
    this.outcomes.push(outcome);
  }
}

/** The node's window: has room until it is told otherwise, and confirms when it is told to. */
export class FakeSink implements FrameSink {
  hasRoom = true;
  readonly frames: Frame[] = [];
  readonly waiting: FrameSource[] = [];
  #confirmed = 0;

  publish(frame: Frame): void {
    if (!this.hasRoom) throw new Error('published without room');
    this.frames.push(frame);
  }

  waitForRoom(source: FrameSource): void {
    this.waiting.push(source);
  }

  /** The broker confirms the oldest frames. */
  confirm(count: number): void {
    for (let n = 0; n < count; n++) {
      const frame = this.frames[this.#confirmed++]!;
      frame.source.frameConfirmed(frame);
    }
  }

  giveRoom(): void {
    this.hasRoom = true;
    for (const source of this.waiting.splice(0)) source.roomAvailable();
  }

  get unconfirmed(): number {
    return this.frames.length - this.#confirmed;
  }

  /** The bodies of what was published. */
  get lines(): string[] {
    return this.frames.map(({ body }) => body.toString());
  }
}

const LIMITS: EndpointLimits = {
  framing: 'line',
  maxFrameBytes: 100,
  maxUnconfirmedFrames: 1_000,
  maxUnconfirmedBytes: 1_000_000,
  maxFramesPerSecond: 0,
  maxBytesPerSecond: 0,
  idleTimeoutMs: 0,
  firstFrameTimeoutMs: 0,
  maxAgeMs: 0,
  maxAgeJitter: 0,
  gapTimeoutMs: 20_000,
  onGap: 'skip',
  resequencer: { maxParked: 100, maxParkedBytes: 10_000, maxAhead: 1_000 },
  maxReplyBytes: 10_000,
  maxPending: 100,
  maxPendingBytes: 100_000,
  ack: { enabled: false, template: 'ACK {seq}', every: 16, intervalMs: 200 },
  writeTimeoutMs: 15_000,
};

export const TICK_MS = 250;

/** What the endpoints of a node share, with a clock that the test moves. */
export class FakeHost implements EndpointHost {
  readonly limits: EndpointLimits;
  readonly sink = new FakeSink();
  readonly deadlines: TimingWheel<Endpoint>;
  readonly gaps: (Gap & { waitedMs: number })[] = [];
  readonly sent = { frames: 0, bytes: 0 };
  pauses = 0;
  resumes = 0;
  /** Connections that were said to send too fast. */
  readonly tooFast: Endpoint[] = [];
  parked = 0;
  /** Connections that were told to take no more replies. */
  readonly unregistered: Endpoint[] = [];
  /** Connections whose socket is gone and whose end is not complete. */
  readonly gone = new Set<Endpoint>();
  /** How each connection ended, and how many frames were published by then. */
  readonly closings: (Ending & { publishedBefore: number })[] = [];
  /** Passes each time somebody looks at the clock. */
  lookMs = 0;
  #nowMs = 1_000_000;

  constructor(limits: Partial<EndpointLimits> = {}) {
    this.limits = { ...LIMITS, ...limits };
    this.deadlines = new TimingWheel(TICK_MS, 64, this.#nowMs, (endpoint, nowMs) =>
      endpoint.deadlinePassed(nowMs),
    );
  }

  now(): number {
    this.#nowMs += this.lookMs;
    return this.#nowMs;
  }

  /** Time passes, in ticks. */
  pass(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#nowMs < untilMs) {
      this.#nowMs = Math.min(this.#nowMs + TICK_MS, untilMs);
      this.deadlines.sweep(this.#nowMs);
    }
  }

  flushSoon(lane: ReplyLane): void {
    process.nextTick(() => lane.flush());
  }

  frameReceived(): void {}

  framesSent(count: number, bytes: number): void {
    this.sent.frames += count;
    this.sent.bytes += bytes;
  }

  readsPaused(): void {
    this.pauses++;
  }

  readsResumed(): void {
    this.resumes++;
  }

  rateExceeded(endpoint: Endpoint): void {
    this.tooFast.push(endpoint);
  }

  holdingChanged(): void {}

  replyParked(delta: number): void {
    this.parked += delta;
  }

  gapSkipped(_: Endpoint, gap: Gap, waitedMs: number): void {
    this.gaps.push({ ...gap, waitedMs });
  }

  ended(endpoint: Endpoint): void {
    this.unregistered.push(endpoint);
  }

  socketGone(endpoint: Endpoint): void {
    if (this.gone.has(endpoint)) throw new Error('the socket of one connection is gone twice');
    this.gone.add(endpoint);
  }

  closed(endpoint: Endpoint, ending: Ending): void {
    if (!this.gone.delete(endpoint)) throw new Error('an end is complete before the socket is gone');
    this.closings.push({ ...ending, publishedBefore: this.sink.frames.length });
  }
}

/** An endpoint that has just been established, with its socket flowing. */
export async function connect(limits: Partial<EndpointLimits> = {}) {
  const host = new FakeHost(limits);
  const { socket, endpoint } = await connectTo(host);
  return { host, sink: host.sink, socket, endpoint };
}

export async function connectTo(host: FakeHost) {
  const socket = new FakeSocket();
  const peer = { remoteAddress: '192.0.2.7', remotePort: 50_123, deviceId: 'meter-1' };
  const endpoint = new Endpoint(host, 'some-connection', socket as unknown as TLSSocket, peer);
  await turn();
  return { socket, endpoint };
}
