import './supervisor/signals-to-all.ts';
import cluster from 'node:cluster';
import type { Logger } from 'pino';
import { MachineShare, type ToShare } from './acceptor/machine-share.ts';
import { messageOf } from './broker/broker-error.ts';
import { Gateway } from './gateway.ts';
import { createLogger, flushLog } from './observability/logger.ts';
import { Metrics } from './observability/metrics.ts';
import type { NodeId } from './registry/connection-id.ts';
import type { FromWorker, StartMessage, ToWorker } from './supervisor/messages.ts';
import { statusIntervalMs } from './supervisor/status-watch.ts';

/** One worker process: a gateway node, started, asked and drained by the supervisor over IPC. */
class Worker {
  readonly #gateway: Gateway;
  readonly #machine: MachineShare;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #address: string;
  readonly #statusIntervalMs: number;
  #listening: 'not yet' | 'under way' | 'yes' = 'not yet';
  #brokerWorks = false;
  #reason = 'connecting to the broker';
  #draining = false;

  constructor({ index, workers, config, files, ticketSecret }: StartMessage) {
    this.#machine = new MachineShare(config, workers, performance.now(), send);
    this.#metrics = new Metrics(index);
    this.#log = createLogger(config.log.level, { pid: process.pid, worker: index });
    this.#address = `${config.listen.host}:${config.listen.port}`;
    this.#statusIntervalMs = statusIntervalMs(config.readiness);
    this.#gateway = new Gateway(
      { config, files, ticketSecret, machine: this.#machine },
      this.#metrics,
      this.#log,
    );
    this.#gateway.onBroker((works, reason) => {
      this.#brokerWorks = works;
      this.#reason = reason;
      // Devices are let in once their lines have somewhere to go; a broker that goes away later holds them back.
      if (works && this.#listening === 'not yet' && !this.#draining) void this.#listen();
      this.#report();
    });
  }

  start(): void {
    send({ type: 'node', id: this.#gateway.nodeId });
    this.#gateway.connect();
    this.#report();
    // Also while nothing changes: a worker that hangs is known by its silence.
    setInterval(() => this.#report(), this.#statusIntervalMs).unref();
  }

  adopt(node: NodeId): void {
    this.#gateway.adopt(node);
  }

  async snapshot(id: number): Promise<void> {
    send({ type: 'snapshot', id, metrics: await this.#metrics.snapshot() });
  }

  shared(message: ToShare): void {
    this.#machine.received(message, performance.now());
    this.#gateway.permitsChanged();
  }

  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#reason = 'draining';
    this.#report();
    const { unconfirmedFrames } = await this.#gateway.drain();
    if (unconfirmedFrames > 0) {
      this.#log.error(
        { unconfirmedFrames },
        "drain deadline passed: frames were left without the broker's confirm",
      );
    }
    const metrics = await this.#metrics.snapshot();
    await flushLog(this.#log);
    send({ type: 'drained', unconfirmedFrames, metrics }, () => process.exit(unconfirmedFrames > 0 ? 1 : 0));
  }

  async #listen(): Promise<void> {
    this.#listening = 'under way';
    try {
      const port = await this.#gateway.listen();
      this.#listening = 'yes';
      this.#log.info({ port }, 'listening');
      this.#report();
    } catch (error) {
      send({ type: 'fatal', message: `cannot listen on ${this.#address}: ${messageOf(error)}` });
    }
  }

  #report(): void {
    const ready = this.#brokerWorks && this.#listening === 'yes' && !this.#draining;
    send({ type: 'status', ready, reason: this.#reason });
  }
}

function send(message: FromWorker, sent: () => void = () => {}): void {
  // Without a supervisor there is nobody to tell.
  if (process.connected) process.send!(message, undefined, undefined, sent);
  else sent();
}

let worker: Worker | undefined;

const drainOrExit = () => {
  if (worker === undefined) process.exit(0);
  void worker.drain();
};

process.on('message', (message: ToWorker) => {
  if (message.type === 'start') {
    worker = new Worker(message);
    worker.start();
  } else if (message.type === 'adopt') {
    worker?.adopt(message.node);
  } else if (message.type === 'drain') {
    drainOrExit();
  } else if (message.type === 'snapshot') {
    void worker?.snapshot(message.id);
  } else {
    worker?.shared(message);
  }
});

process.on('SIGTERM', drainOrExit);
// The supervisor is gone. Node would exit at once; what was read is handed on first.
if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
process.on('disconnect', drainOrExit);

send({ type: 'loaded' });
