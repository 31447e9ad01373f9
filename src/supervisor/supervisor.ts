import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Counter, Gauge, Registry } from 'prom-client';
import { messageOf } from '../broker/broker-error.ts';
import { changedKeys, keepFixedKeys } from '../config/reload.ts';
import type { Config } from '../config/schema.ts';
import type { Sources } from '../config/sources.ts';
import { createLogger, flushLog } from '../observability/logger.ts';
import { Backoff } from '../util/backoff.ts';
import { createAdminServer } from './admin-server.ts';
import { MachineLimits } from './machine-limits.ts';
import { MetricsSum } from './metrics-sum.ts';
import { RestartIntensity } from './restart-intensity.ts';
import { type LoadedSettings, type SlotExit, type WorkerSettings, WorkerSlot } from './worker-slot.ts';

/**
 * The primary process: forks the workers, restarts those that crash, and gives up when that does not help; serves
 * the admin port and drives rolling restarts and the shutdown. It carries no traffic.
 *
 *   starting ──► running ──SIGTERM──► draining ──► stopped
 *                   └──too many crashes, or one that would repeat──► draining
 *
 * @param load reads the configuration and its files again for a rolling restart, given where the running
 * configuration comes from; throws what is wrong with them
 */
export async function runSupervisor(settings: LoadedSettings, load: Load): Promise<number> {
  return new Supervisor(settings, load).run();
}

type Load = (running: Sources) => LoadedSettings;

class Supervisor {
  #config: Config;
  /** Where the keys of `#config` were given. */
  #sources: Sources;
  readonly #load: Load;
  readonly #log: Logger;
  readonly #slots: WorkerSlot[] = [];
  readonly #intensity: RestartIntensity;
  readonly #backoff: Backoff;
  readonly #limits: MachineLimits;
  /** For session tickets where no secret is given, so that one worker can resume what another has begun. */
  readonly #drawnSecret = randomBytes(32).toString('base64');
  readonly #admin: FastifyInstance;
  /** The supervisor's own metrics. */
  readonly #own = new Registry();
  readonly #metricsSum = new MetricsSum();
  readonly #restarts: Counter;
  #phase: 'starting' | 'running' | 'draining' | 'stopped' = 'starting';
  #wasReady = false;
  #isRestarting = false;
  /** SIGHUP came during the start, or while a rolling restart was under way. */
  #restartAgain = false;
  /** SIGTERM and SIGINT that came. The phase says nothing of them: draining may be the end of giving up. */
  #stopSignals = 0;
  #exitCode = 0;
  /** Workers that were to drain, and were killed or crashed before they had. */
  #silent = 0;
  #stopped: () => void = () => {};

  constructor(settings: LoadedSettings, load: Load) {
    const { config } = settings;
    this.#config = config;
    this.#sources = settings.sources;
    this.#load = load;
    this.#log = createLogger(config.log.level, { pid: process.pid });
    const { maxRestarts, windowMs, backoffMinMs, backoffMaxMs } = config.restart;
    this.#intensity = new RestartIntensity(maxRestarts, windowMs);
    this.#backoff = new Backoff(backoffMinMs, backoffMaxMs);
    const workers = config.workers === 0 ? availableParallelism() : config.workers;
    for (let index = 0; index < workers; index++) {
      this.#slots.push(
        new WorkerSlot(index, this.#complete(settings, workers), {
          statusChanged: () => this.#statusChanged(),
          fatal: (message) => this.#giveUp(message),
          shared: (process, message) => this.#limits.received(process, message),
          drainedTooSlowly: (slot) =>
            this.#log.error({ worker: slot.index }, 'worker did not drain in time: killed'),
          exited: (slot, exit) => this.#exited(slot, exit),
          retired: (metrics) => this.#metricsSum.retire(metrics),
        }),
      );
    }
    this.#limits = new MachineLimits(config);
    this.#restarts = new Counter({
      name: 'owsla_worker_restarts_total',
      help: 'Workers that were started again after a crash.',
      registers: [this.#own],
    });
    const slots = this.#slots;
    new Gauge({
      name: 'owsla_workers',
      help: 'Worker processes that are running.',
      registers: [this.#own],
      collect() {
        this.set(slots.filter((slot) => slot.isRunning).length);
      },
    });
    // Theirs would go on saying 1 for one that hangs.
    new Gauge({
      name: 'owsla_worker_ready',
      help: 'Workers that are ready: they answer, accept connections, and their broker round trip works.',
      registers: [this.#own],
      collect() {
        this.set(slots.filter((slot) => slot.status.ready).length);
      },
    });
    this.#admin = createAdminServer({ readiness: () => this.#readiness(), metrics: () => this.#metrics() });
  }

  /** Resolves with the exit code when everything has stopped, and the log is written. */
  async run(): Promise<number> {
    const exitCode = await this.#runUntilStopped();
    await flushLog(this.#log);
    return exitCode;
  }

  async #runUntilStopped(): Promise<number> {
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    process.on('SIGTERM', this.#signalled);
    process.on('SIGINT', this.#signalled);
    process.on('SIGHUP', this.#hungUp);
    const { host, port } = this.#config.admin;
    try {
      await this.#admin.listen({ host, port });
    } catch (error) {
      this.#log.fatal(`cannot serve the admin port ${host}:${port}: ${messageOf(error)}`);
      return 1;
    }
    if (this.#phase === 'starting') this.#startWorkers();
    await stopped;
    await this.#admin.close();
    const unconfirmedFrames = this.#slots.reduce((sum, slot) => sum + slot.unconfirmedFrames, 0);
    if (unconfirmedFrames > 0) {
      this.#log.error({ unconfirmedFrames }, 'stopped with frames that the broker has not confirmed');
      this.#exitCode ||= 1;
    } else if (this.#silent === 0) {
      this.#log.info('stopped');
    }
    if (this.#silent > 0) {
      this.#exitCode ||= 1;
      this.#log.error(
        { workers: this.#silent },
        'stopped; workers that were killed or crashed did not say how many frames they left unconfirmed',
      );
    }
    return this.#exitCode;
  }

  #startWorkers(): void {
    this.#phase = 'running';
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({ exec: workerProgram(), execArgv: workerFlags(this.#slots.length) });
    const { listen, admin } = this.#config;
    this.#log.info(
      {
        workers: this.#slots.length,
        listen: `${listen.host}:${listen.port}`,
        admin: `${admin.host}:${admin.port}`,
      },
      'starting',
    );
    for (const slot of this.#slots) slot.spawn();
    if (this.#restartAgain) void this.#restartWorkers();
  }

  readonly #signalled = (signal: NodeJS.Signals): void => {
    if (++this.#stopSignals === 1) {
      if (this.#phase === 'starting' || this.#phase === 'running') void this.#drain(signal);
      else this.#log.info({ signal }, 'draining already; a second signal stops at once');
      return;
    }
    this.#log.warn({ signal }, 'second signal: stopping at once');
    this.#exitCode = 1;
    for (const slot of this.#slots) slot.kill();
  };

  readonly #hungUp = (): void => {
    if (this.#isRestarting || this.#phase === 'starting') this.#restartAgain = true;
    else if (this.#phase === 'running') void this.#restartWorkers();
  };

  /** Reads configuration and certificates again, and replaces one worker after the other. */
  async #restartWorkers(): Promise<void> {
    this.#isRestarting = true;
    do {
      this.#restartAgain = false;
      try {
        await this.#replaceWorkers(this.#reload());
      } catch (error) {
        if (this.#phase === 'running')
          this.#log.error({ reason: messageOf(error) }, 'rolling restart given up: what runs stays');
      }
    } while (this.#restartAgain && this.#phase === 'running');
    this.#isRestarting = false;
  }

  /** @throws ConfigError */
  #reload(): LoadedSettings {
    const loaded = this.#load(this.#sources);
    const { config, ignored } = keepFixedKeys(loaded.config, this.#config);
    if (ignored.length > 0)
      this.#log.warn({ keys: ignored }, 'changed, but applied only when the whole gateway is started again');
    return { ...loaded, config };
  }

  #complete({ config, files }: LoadedSettings, workers: number): WorkerSettings {
    const ticketSecret = config.tls.ticketSecret ?? files.tls.ticketSecret ?? this.#drawnSecret;
    return { config, files, workers, ticketSecret };
  }

  async #replaceWorkers(loaded: LoadedSettings): Promise<void> {
    const { config, sources } = loaded;
    const settings = this.#complete(loaded, this.#slots.length);
    // Names only: a value may be a secret.
    const changed = changedKeys(config, this.#config);
    this.#log.info({ workers: this.#slots.length, changed }, 'rolling restart');
    for (const slot of this.#slots) {
      if (this.#phase !== 'running') return;
      await slot.replace(settings);
      this.#log.info({ worker: slot.index }, 'worker replaced');
    }
    this.#config = config;
    this.#sources = sources;
    this.#limits.apply(config);
    this.#log.level = config.log.level;
    this.#log.info('rolling restart complete');
  }

  /** Not ready first, so that a load balancer notices; then no new connections; then the old ones, gently. */
  async #drain(cause: string): Promise<void> {
    this.#phase = 'draining';
    const { notReadyMs, timeoutMs } = this.#config.shutdown;
    this.#log.info({ cause, connectionsCloseAfterMs: notReadyMs, deadlineMs: timeoutMs }, 'draining');
    this.#statusChanged();
    const someRun = this.#slots.some((slot) => !slot.isEmpty);
    if (this.#exitCode === 0 && someRun) await new Promise((resolve) => setTimeout(resolve, notReadyMs));
    for (const slot of this.#slots) slot.drain();
    this.#stopIfDone();
  }

  #giveUp(message: string): void {
    if (this.#phase !== 'running') return;
    this.#log.fatal(message);
    this.#exitCode = 1;
    void this.#drain('giving up');
  }

  #exited(slot: WorkerSlot, { code, signal, asked, failed, silent }: SlotExit): void {
    if (!asked || silent) this.#log.error({ worker: slot.index, code, signal }, 'worker exited');
    if (silent && (asked || this.#phase !== 'running')) this.#silent++;
    if (this.#phase !== 'running') {
      if (!asked || failed) this.#exitCode ||= 1;
      this.#stopIfDone();
      return;
    }
    if (asked) return;
    const { maxRestarts, windowMs } = this.#config.restart;
    if (!this.#intensity.allows(performance.now())) {
      this.#giveUp(`more than ${maxRestarts} worker exits within ${windowMs} ms: giving up`);
      return;
    }
    if (this.#intensity.recent === 1) this.#backoff.reset();
    const waitMs = this.#backoff.nextMs();
    setTimeout(() => {
      if (this.#phase !== 'running') return;
      this.#restarts.inc();
      slot.spawn();
    }, waitMs);
  }

  #stopIfDone(): void {
    if (this.#phase !== 'draining' || this.#slots.some((slot) => !slot.isEmpty)) return;
    this.#phase = 'stopped';
    this.#stopped();
  }

  #readiness() {
    const workers = this.#slots.map((slot) => slot.status);
    return { ready: this.#phase === 'running' && workers.every((worker) => worker.ready), workers };
  }

  #statusChanged(): void {
    const { ready, workers } = this.#readiness();
    if (ready === this.#wasReady) return;
    this.#wasReady = ready;
    if (ready) this.#log.info({ workers: workers.length }, 'ready');
    else if (this.#phase === 'running') {
      this.#log.warn({ workers: workers.filter((worker) => !worker.ready) }, 'not ready');
    }
  }

  async #metrics(): Promise<{ contentType: string; body: string }> {
    const workers = await Promise.all(this.#slots.map((slot) => slot.snapshots()));
    return await this.#metricsSum.text([await this.#own.getMetricsAsJSON(), ...workers.flat()]);
  }
}

/**
 * How workers run V8; flags that the supervisor was started with come behind and win.
 *
 * A heap of long-lived connections that grows a little all the time would be looked through once for each hundred of
 * them, with nothing to find: it may grow to three times what was alive (decision 011). V8 collects garbage with four
 * more threads. Where each core has a worker, those of one take the time of another, and under load its devices wait
 * for that: one thread will do (decision 010).
 */
function workerFlags(workers: number): string[] {
  const isCrowded = workers >= availableParallelism();
  return ['--heap-growing-percent=200', ...(isCrowded ? ['--v8-pool-size=1'] : []), ...process.execArgv];
}

/** Beside this file's folder, with the extension that this file runs with: .ts in development, .js when built. */
function workerProgram(): string {
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  return fileURLToPath(new URL(`../worker${extension}`, import.meta.url));
}
