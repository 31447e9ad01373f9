import { Meter } from './accounting/meter.ts';
import { Sampler } from './accounting/sampler.ts';
import { Measurements } from './measurements.ts';
import type { Progress } from './progress.ts';

/** One run of one scenario: what it measures, what it tells, and what has to be ended when it is over. */
export class Run implements AsyncDisposable {
  /** Zero of all series, on the clock of `performance.now()`. */
  readonly startMs = performance.now();
  readonly measured = new Measurements();
  readonly progress: Progress;
  readonly sampler: Sampler;
  readonly #owned: AsyncDisposable[] = [];
  readonly #harnessPids = [process.pid];
  #over = false;

  constructor(progress: Progress) {
    this.progress = progress;
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

  /** Will be ended with the run, the last one first, whatever becomes of it. */
  async own<T extends AsyncDisposable>(starting: Promise<T>): Promise<T> {
    const thing = await starting;
    // The run was stopped meanwhile.
    if (this.#over) await thing[Symbol.asyncDispose]();
    else this.#owned.push(thing);
    return thing;
  }

  /** Ends one of them before the run is over. */
  async end(thing: AsyncDisposable): Promise<void> {
    const at = this.#owned.indexOf(thing);
    if (at !== -1) this.#owned.splice(at, 1);
    await thing[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.sampler.stop();
    for (const thing of this.#owned.reverse()) await thing[Symbol.asyncDispose]();
  }
}
