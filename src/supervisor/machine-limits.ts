import type { FromShare } from '../acceptor/machine-share.ts';
import type { Config } from '../config/schema.ts';
import { ConnectBudget } from './connect-budget.ts';
import type { WorkerSlot } from './worker-slot.ts';

/** How often permits are shared out; they wait that long for others to ask, too. */
const SHARE_MS = 20;

/**
 * The supervisor's part in limits that hold for all workers together: it shares out the permits for new connections,
 * and passes on what the workers tell of addresses.
 */
export class MachineLimits {
  readonly #slots: readonly WorkerSlot[];
  readonly #budget: ConnectBudget;
  readonly #timer: NodeJS.Timeout;

  constructor({ admission }: Config, slots: readonly WorkerSlot[]) {
    this.#slots = slots;
    this.#budget = new ConnectBudget(
      { full: admission.fullRate, resumed: admission.resumedRate },
      performance.now(),
    );
    this.#timer = setInterval(() => this.#share(), SHARE_MS);
    this.#timer.unref();
  }

  received(from: WorkerSlot, message: FromShare | 'begun'): void {
    if (message === 'begun') this.changed(from);
    else if (message.type === 'permits_wanted') this.#budget.ask(from.index, message.permits);
    else
      for (const slot of this.#slots)
        if (slot !== from) slot.share({ type: 'addresses', worker: from.index, changes: message.changes });
  }

  /** A worker has begun or ended. */
  changed(changed: WorkerSlot): void {
    this.#budget.forget(changed.index);
    for (const slot of this.#slots)
      if (slot !== changed) slot.share({ type: 'peer_changed', worker: changed.index });
  }

  #share(): void {
    for (const [worker, permits] of this.#budget.answers(performance.now()))
      this.#slots[worker]?.share({ type: 'permits', permits });
  }
}
