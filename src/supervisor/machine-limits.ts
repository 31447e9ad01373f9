import type { FromShare } from '../acceptor/machine-share.ts';
import type { Config } from '../config/schema.ts';
import { ConnectBudget } from './connect-budget.ts';
import type { WorkerProcess } from './worker-process.ts';

/** Who asks for permits gets them after this long: others may ask, too, and they are shared out among all. */
const SHARE_MS = 20;

/**
 * The supervisor's part in limits that hold for all workers together: it shares out the permits for new connections,
 * and passes on what the workers tell of addresses. It knows a worker by its process id.
 */
export class MachineLimits {
  readonly #processes = new Map<number, WorkerProcess>();
  #budget: ConnectBudget;
  #sharing: NodeJS.Timeout | undefined;

  constructor(config: Config) {
    this.#budget = budgetOf(config);
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
      this.#sharing ??= setTimeout(() => this.#share(), SHARE_MS).unref();
    } else {
      for (const process of this.#processes.values())
        if (process !== from) process.share({ type: 'addresses', worker, changes: message.changes });
    }
  }

  #share(): void {
    this.#sharing = undefined;
    for (const [worker, permits] of this.#budget.answers(performance.now()))
      this.#processes.get(worker)?.share({ type: 'permits', permits });
  }
}

function budgetOf({ admission }: Config): ConnectBudget {
  return new ConnectBudget({ full: admission.fullRate, resumed: admission.resumedRate }, performance.now());
}
