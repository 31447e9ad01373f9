import { setTimeout as delay } from 'node:timers/promises';
import { Crowd, type CrowdListener } from './crowd.ts';
import { type EncodedBook, LatencyBook } from './latency-book.ts';
import type { FleetSettings, FromLoad, PhaseBooks, Request, ToLoad } from './messages.ts';
import { Schedule, shareOf } from './schedule.ts';

/** A load process: a part of the fleet, driven over IPC by the harness, and gone when the harness is. */

const TICK_MS = 1;
const INTERVAL_MS = 500;
/** How much of an overdue schedule is worked off before sockets get their turn again. */
const MOST_CONNECTS_A_TICK = 64;
const MOST_SENDS_A_TICK = 512;
/** A flooding device is given more to send while its socket has taken nearly all of what it was given. */
const FLOOD_BUFFER_BYTES = 16_384;
const FLOOD_LINES_A_TURN = 16;

interface Phase {
  readonly name: string;
  readonly startMs: number;
  readonly book: LatencyBook;
}

class LoadProcess implements CrowdListener {
  readonly #index: number;
  readonly #processes: number;
  readonly #crowd: Crowd;
  readonly #interval = new LatencyBook();
  readonly #phases: Phase[] = [{ name: 'start', startMs: 0, book: new LatencyBook() }];
  #connects:
    | { schedule: Schedule | undefined; left: number; unsettled: number; settled: () => void }
    | undefined;
  #sends: { schedule: Schedule; lineBytes: number; device: number; plannedBefore: number } | undefined;
  #flood: { lineBytes: number; upTo: number; device: number } | undefined;
  /** Of schedules that are over. */
  #plannedBefore = 0;

  constructor(index: number, processes: number, settings: FleetSettings) {
    this.#index = index;
    this.#processes = processes;
    this.#crowd = new Crowd(`p${process.pid}-${index}`, settings, this);
    this.#tick();
    setInterval(() => this.report(), INTERVAL_MS);
  }

  handshake(ms: number, plannedMs: number): void {
    this.#record('handshake', ms, plannedMs);
  }

  recovered(ms: number, wantedSinceMs: number): void {
    this.#record('recovery', ms, wantedSinceMs);
  }

  replied(ms: number, plannedMs: number): void {
    this.#record('rtt', ms, plannedMs);
  }

  attemptSettled(): void {
    const connects = this.#connects;
    if (connects === undefined) return;
    connects.unsettled--;
    if (connects.schedule === undefined && connects.left > 0) this.#connectNow(performance.now());
    if (connects.unsettled === 0) {
      this.#connects = undefined;
      connects.settled();
    }
  }

  /** A value belongs to the phase that its planned time is in, however late it comes. */
  #record(name: string, ms: number, plannedMs: number): void {
    this.#interval.record(name, ms);
    for (let i = this.#phases.length - 1; i >= 0; i--) {
      const phase = this.#phases[i]!;
      if (plannedMs >= phase.startMs || i === 0) {
        phase.book.record(name, ms);
        return;
      }
    }
  }

  readonly #tick = (): void => {
    const nowMs = performance.now();
    this.#crowd.sweep(nowMs);
    const late = this.#connectDue(nowMs) || this.#sendDue(nowMs);
    this.#floodDevices();
    if (late) setImmediate(this.#tick);
    else setTimeout(this.#tick, TICK_MS);
  };

  /** @returns whether more is due */
  #connectDue(nowMs: number): boolean {
    const connects = this.#connects;
    if (connects?.schedule === undefined) return false;
    const { schedule } = connects;
    for (let i = 0; i < MOST_CONNECTS_A_TICK; i++) {
      const plannedMs = schedule.take(nowMs);
      if (plannedMs === undefined) break;
      this.#record('lag.connect', performance.now() - plannedMs, plannedMs);
      this.#connectNow(plannedMs);
    }
    this.#crowd.counters.connectsPlanned = this.#plannedBefore + schedule.plannedBy(nowMs);
    return schedule.nextMs <= nowMs;
  }

  #connectNow(plannedMs: number): void {
    this.#connects!.left--;
    this.#crowd.counters.connectsBegun++;
    this.#crowd.addDevice(plannedMs);
  }

  /** @returns whether more is due */
  #sendDue(nowMs: number): boolean {
    const sends = this.#sends;
    if (sends === undefined) return false;
    const { devices, counters } = this.#crowd;
    for (let i = 0; i < MOST_SENDS_A_TICK; i++) {
      const plannedMs = sends.schedule.take(nowMs);
      if (plannedMs === undefined) break;
      this.#record('lag.send', performance.now() - plannedMs, plannedMs);
      this.#crowd.send(devices[sends.device]!, plannedMs, sends.lineBytes);
      sends.device = (sends.device + 1) % devices.length;
    }
    counters.linesPlanned = sends.plannedBefore + sends.schedule.plannedBy(nowMs);
    return sends.schedule.nextMs <= nowMs;
  }

  /** As much as the sockets take and the harness allows, from each device in turn. */
  #floodDevices(): void {
    const flood = this.#flood;
    if (flood === undefined) return;
    const { devices, counters } = this.#crowd;
    for (let turn = 0; turn < devices.length; turn++) {
      const device = devices[flood.device % devices.length]!;
      flood.device++;
      for (let i = 0; i < FLOOD_LINES_A_TURN; i++) {
        if (counters.linesSent >= flood.upTo) return;
        if (device.state !== 'open' || device.socket!.writableLength > FLOOD_BUFFER_BYTES) break;
        this.#crowd.send(device, performance.now(), flood.lineBytes);
      }
    }
  }

  async handle(request: Request): Promise<unknown> {
    switch (request.type) {
      case 'connect':
        return this.#connect(request);
      case 'send':
        return this.#beginSending(request);
      case 'flood':
        return this.#beginFlood(request);
      case 'quiet':
        this.#sends = undefined;
        this.#flood = undefined;
        return;
      case 'reconnect':
        return this.#crowd.setRetry(request.retry);
      case 'phase':
        this.#phases.push({ name: request.name, startMs: performance.now(), book: new LatencyBook() });
        return;
      case 'phases':
        return this.#encodedPhases();
      case 'close':
        return this.#close(request.ratePerS);
      case 'tallies':
        return this.#crowd.tallies();
    }
  }

  /** Resolves when each device has connected, or has failed once. */
  #connect({ count, pace, startEpochMs }: Extract<Request, { type: 'connect' }>): Promise<void> {
    const own = shareOf(count, this.#index, this.#processes);
    if (own === 0) return Promise.resolve();
    return new Promise((settled) => {
      if ('ratePerS' in pace) {
        const startMs = startEpochMs - performance.timeOrigin;
        const schedule = Schedule.share(startMs, pace.ratePerS, count, this.#index, this.#processes);
        this.#plannedBefore = this.#crowd.counters.connectsPlanned;
        this.#connects = { schedule, left: own, unsettled: own, settled };
        return;
      }
      this.#connects = { schedule: undefined, left: own, unsettled: own, settled };
      this.#crowd.counters.connectsPlanned += own;
      const atOnce = Math.max(1, shareOf(pace.concurrency, this.#index, this.#processes));
      for (let i = 0; i < Math.min(own, atOnce); i++) this.#connectNow(performance.now());
    });
  }

  #beginSending({ ratePerS, lineBytes, startEpochMs }: Extract<Request, { type: 'send' }>): void {
    if (this.#crowd.devices.length === 0) return;
    const startMs = startEpochMs - performance.timeOrigin;
    const limit = Number.POSITIVE_INFINITY;
    const schedule = Schedule.share(startMs, ratePerS, limit, this.#index, this.#processes);
    this.#sends = { schedule, lineBytes, device: 0, plannedBefore: this.#crowd.counters.linesPlanned };
  }

  #beginFlood({ lineBytes, upTo }: Extract<Request, { type: 'flood' }>): void {
    const own = shareOf(upTo, this.#index, this.#processes);
    this.#flood = { lineBytes, upTo: own, device: this.#flood?.device ?? 0 };
  }

  #encodedPhases(): PhaseBooks {
    const books = new Map<string, LatencyBook>();
    for (const { name, book } of this.#phases) {
      const earlier = books.get(name);
      if (earlier === undefined) books.set(name, book);
      else earlier.merge(book);
    }
    const encoded: Record<string, EncodedBook> = {};
    for (const [name, book] of books) encoded[name] = book.encode();
    return encoded;
  }

  /** Ends all connections, at most so many a second; resolves when they are gone. */
  async #close(ratePerS: number): Promise<void> {
    this.#sends = undefined;
    this.#flood = undefined;
    const connects = this.#connects;
    this.#connects = undefined;
    connects?.settled();
    this.#crowd.beginClosing();
    const { devices } = this.#crowd;
    const schedule = Schedule.share(
      performance.now(),
      ratePerS,
      devices.length,
      this.#index,
      this.#processes,
    );
    for (const device of devices) {
      while (schedule.take(performance.now()) === undefined) {
        if (schedule.done) break;
        await delay(CLOSE_PAUSE_MS);
      }
      this.#crowd.close(device);
    }
    const deadlineMs = performance.now() + CLOSE_TIMEOUT_MS;
    while (this.#crowd.counters.open > 0 && performance.now() < deadlineMs) await delay(CLOSE_PAUSE_MS);
    for (const device of devices) this.#crowd.destroy(device);
  }

  report(): void {
    send({ type: 'interval', counters: this.#crowd.counters, latencies: this.#interval.encode() });
    this.#interval.reset();
  }
}

const CLOSE_PAUSE_MS = 10;
const CLOSE_TIMEOUT_MS = 10_000;

function send(message: FromLoad): void {
  if (process.connected) process.send!(message);
}

let load: LoadProcess | undefined;

process.on('message', async (message: ToLoad) => {
  if (message.type === 'start') {
    load = new LoadProcess(message.index, message.processes, message.settings);
    return;
  }
  const answer = await load!.handle(message.request);
  // The counters are then at least as new as the answer.
  load!.report();
  send({ type: 'answer', id: message.id, answer });
});

process.on('disconnect', () => process.exit(0));
// A terminal sends these to every process of its group; the harness decides what becomes of us.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

send({ type: 'loaded' });
