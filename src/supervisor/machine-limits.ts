import type { FromShare } from '../acceptor/machine-share.ts';
import type { Config } from '../config/schema.ts';
import { ConnectBudget } from './connect-budget.ts';
import type { WorkerProcess } from './worker-process.ts';

/** How often permits are shared out; they wait that long for others to ask, too. */
const SHARE_MS = 20;

/**
 * The supervisor's part in limits that hold for all workers together: it shares out the permits for new connections,
 * and passes on what the workers tell of addresses. It knows a worker by its process id.
 */
export class MachineLimits {
  readonly #processes = new Map<number, WorkerProcess>();
  readonly #timer: NodeJS.Timeout;
  #budget: ConnectBudget;

  constructor(config: Config) {
    this.#budget = budgetOf(config);
    this.#timer = setInterval(() => this.#share(), SHARE_MS);
    this.#timer.unref();
  }

  /** Other rates from now on. */
  apply(config: Config): void {
    this.#budget = budgetOf(config);
  }

  received(from: WorkerProcess, message: FromShare | 'begun' | 'ended'): void {
    const worker = from.pid;
    if (message === 'begun' || message === 'ended') {
      if (message === 'begun') this.#processes.set(worker, from);
      else this.#processes.delete(worker);
      this.#budget.forget(worker);
      for (const process of this.#processes.values())
        if (process !== from) process.share({ type: 'peer_changed', worker });
    } else if (message.type === 'permits_wanted') {
      this.#budget.ask(worker, message.permits);
    } else {
      for (const process of this.#processes.values())
        if (process !== from) process.share({ type: 'addresses', worker, changes: message.changes });
    }
  }

  #share(): void {
    for (const [worker, permits] of this.#budget.answers(performance.now()))
      this.#processes.get(worker)?.share({ type: 'permits', permits });
  }
}

function budgetOf({ admission }: Config): ConnectBudget {
  return new ConnectBudget({ full: admission.fullRate, resumed: admission.resumedRate }, performance.now());
}
