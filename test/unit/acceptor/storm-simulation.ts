import { type AdmissionGate, OverloadGate } from '../../../src/acceptor/admission.ts';
import { SlotLimit } from '../../../src/acceptor/slot-limit.ts';

/** One core, in steps of 10 ms, each enough for one full handshake: a capacity of 100 a second. */
const STEP_MS = 10;
export const CAPACITY_PER_SECOND = 1_000 / STEP_MS;
const HANDSHAKE_MS = STEP_MS;
/** What a socket costs that is accepted, read and perhaps reset, next to a handshake. */
const ATTEMPT_MS = HANDSHAKE_MS / 20;
const ROUND_TRIP_STEPS = 2;
const CLIENT_TIMEOUT_MS = 5_000;
/** How long a device stays once it is in, before the storm throws it out again. */
const STAY_MS = 10_000;
const MAX_WAITING = 4_096;

export interface SimulatedDevice {
  /** It waits longer after each failure, at random: exponential backoff with full jitter. */
  readonly isPolite: boolean;
  failures: number;
  successes: number;
  lastSuccessAtMs: number;
  longestWaitMs: number;
  isGone: boolean;
}

interface Attempt {
  readonly device: SimulatedDevice;
  isOver: boolean;
}

/** The real gate in front of simulated devices, a simulated processor and a simulated clock. */
export class StormSimulation {
  nowMs = 0;
  readonly devices: SimulatedDevice[] = [];
  /** Devices that came in, by second. */
  readonly goodput: number[] = [];
  readonly #gate: AdmissionGate<Attempt>;
  readonly #random: () => number;
  readonly #seesClientsGo: boolean;
  readonly #agenda = new Map<number, (() => void)[]>();
  #backlogMs = 0;

  /** @param naive a line in the order of arrival, without an end, and nobody looks whether the client is still there */
  constructor(devices: { polite: number; impatient: number }, naive: boolean, random: () => number) {
    const forever = Number.POSITIVE_INFINITY;
    this.#random = random;
    this.#seesClientsGo = !naive;
    this.#gate = new OverloadGate(
      new SlotLimit({ min: 4, max: 64, maxLoopDelayMs: 20 }),
      { take: () => true },
      naive
        ? { maxWaiting: forever, targetDelayMs: forever, intervalMs: forever, maxWaitMs: forever }
        : { maxWaiting: MAX_WAITING, targetDelayMs: 100, intervalMs: 500, maxWaitMs: 5_000 },
    );
    for (let i = 0; i < devices.polite + devices.impatient; i++) {
      const isPolite = i < devices.polite;
      const device = {
        isPolite,
        failures: 0,
        successes: 0,
        lastSuccessAtMs: 0,
        longestWaitMs: 0,
        isGone: false,
      };
      this.devices.push(device);
      // All at once: the stampede.
      this.#in(1, () => this.#connect(device));
    }
  }

  run(forMs: number): void {
    for (const end = this.nowMs + forMs; this.nowMs < end; ) this.#step();
  }

  #step(): void {
    const step = this.nowMs / STEP_MS;
    const due = this.#agenda.get(step) ?? [];
    this.#agenda.delete(step);
    for (const task of due) task();
    for (let late = this.#gate.overdue(this.nowMs); late; late = this.#gate.overdue(this.nowMs))
      this.#failed(late.socket);
    while (this.#backlogMs < STEP_MS) {
      const admitted = this.#gate.next(this.nowMs);
      if (admitted === undefined) break;
      this.#backlogMs += HANDSHAKE_MS;
      this.#gate.release();
      this.#established(admitted.socket);
    }
    if (step % 5 === 0) this.#gate.adjust(this.#backlogMs);
    this.#backlogMs = Math.max(0, this.#backlogMs - STEP_MS);
    this.nowMs += STEP_MS;
  }

  #connect(device: SimulatedDevice): void {
    if (device.isGone) return;
    this.#backlogMs += ATTEMPT_MS;
    const attempt: Attempt = { device, isOver: false };
    const refused = this.#gate.offer(attempt, 'full', this.nowMs);
    if (refused !== undefined) this.#failed(refused.socket);
    this.#in(CLIENT_TIMEOUT_MS / STEP_MS, () => {
      if (attempt.isOver) return;
      if (this.#seesClientsGo) this.#gate.withdraw(attempt);
      this.#failed(attempt);
    });
  }

  #established(attempt: Attempt): void {
    // The server has paid for it all the same.
    if (attempt.isOver) return;
    attempt.isOver = true;
    const { device } = attempt;
    const second = Math.floor(this.nowMs / 1_000);
    this.goodput[second] = (this.goodput[second] ?? 0) + 1;
    device.successes++;
    device.failures = 0;
    device.longestWaitMs = Math.max(device.longestWaitMs, this.nowMs - device.lastSuccessAtMs);
    device.lastSuccessAtMs = this.nowMs;
    this.#in(STAY_MS / STEP_MS, () => this.#connect(device));
  }

  #failed(attempt: Attempt): void {
    if (attempt.isOver) return;
    attempt.isOver = true;
    const { device } = attempt;
    const waitMs = device.isPolite ? this.#random() * Math.min(60_000, 1_000 * 2 ** device.failures) : 0;
    device.failures++;
    this.#in(ROUND_TRIP_STEPS + Math.floor(waitMs / STEP_MS), () => this.#connect(device));
  }

  #in(steps: number, task: () => void): void {
    const at = this.nowMs / STEP_MS + steps;
    const tasks = this.#agenda.get(at);
    if (tasks === undefined) this.#agenda.set(at, [task]);
    else tasks.push(task);
  }
}
