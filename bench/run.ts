import { setTimeout as delay } from 'node:timers/promises';
import { Meter } from './accounting/meter.ts';
import { Sampler } from './accounting/sampler.ts';
import { Measurements } from './measurements.ts';
import type { Progress } from './progress.ts';

/** How long the end of a run waits for what still starts: only then it can be ended in its own way. */
const START_GRACE_MS = 15_000;

interface Owned {
  readonly starting: Promise<AsyncDisposable>;
  thing?: AsyncDisposable;
}

/** One run of one scenario: what it measures, what it tells, and what has to be ended when it is over. */
export class Run implements AsyncDisposable {
  /** Zero of all series, on the clock of `performance.now()`. */
  readonly startMs = performance.now();
  readonly measured = new Measurements();
  readonly progress: Progress;
  readonly sampler: Sampler;
  readonly #owned = new Set<Owned>();
  readonly #startGraceMs: number;
  readonly #harnessPids = [process.pid];
  #over = false;

  constructor(progress: Progress, startGraceMs = START_GRACE_MS) {
    this.progress = progress;
    this.#startGraceMs = startGraceMs;
    this.sampler = new Sampler(this.startMs);
    this.sampler.watch(new Meter('harness', () => this.#harnessPids));
    this.measured.version('node', process.version.slice(1));
  }

  get second(): number {
    return (performance.now() - this.startMs) / 1_000;
  }

  say(text: string): void {
    this.progress.say(text);
  }

  /** Further processes of the harness's own, which its cost is the sum of. */
  addHarness(...pids: number[]): void {
    this.#harnessPids.push(...pids);
  }

  /** Will be ended with the run, the last one first, whatever becomes of it. @throws Error when the run is over */
  async own<T extends AsyncDisposable>(starting: Promise<T>): Promise<T> {
    const owned: Owned = { starting };
    this.#owned.add(owned);
    try {
      owned.thing = await starting;
    } catch (error) {
      this.#owned.delete(owned);
      throw error;
    }
    if (this.#over) throw new Error('the run is over');
    return await starting;
  }

  /** Ends one of them before the run is over. */
  async end(thing: AsyncDisposable): Promise<void> {
    for (const owned of this.#owned) if (owned.thing === thing) this.#owned.delete(owned);
    await thing[Symbol.asyncDispose]();
  }

  /** Ends all of them, and what begins meanwhile. What cannot be ended is a problem, and keeps none of the others. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.sampler.stop();
    for (let owned = this.#last(); owned !== undefined; owned = this.#last()) {
      this.#owned.delete(owned);
      try {
        const thing = owned.thing ?? (await this.#started(owned));
        await thing?.[Symbol.asyncDispose]();
      } catch (error) {
        const problem = `at the end of the run: ${(error as Error).message}`;
        this.measured.problem(problem);
        this.say(problem);
      }
    }
  }

  #last(): Owned | undefined {
    return [...this.#owned].at(-1);
  }

  /** `undefined` for what did not start, or takes too long. */
  async #started({ starting }: Owned): Promise<AsyncDisposable | undefined> {
    this.say('waiting for what is starting, so that it can be ended');
    return (await Promise.race([starting.catch(() => {}), delay(this.#startGraceMs)])) ?? undefined;
  }
}
