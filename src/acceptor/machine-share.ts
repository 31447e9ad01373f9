import type { Config } from '../config/schema.ts';
import { type AddressChange, AddressTable } from './address-table.ts';
import { type ByKind, PermitLease } from './permit-lease.ts';

/** What a worker tells the supervisor for the machine's limits. */
export type FromShare =
  | { type: 'permits_wanted'; permits: ByKind }
  | { type: 'addresses'; changes: AddressChange[] };

/** What the supervisor tells a worker. */
export type ToShare =
  | { type: 'permits'; permits: ByKind }
  /** What another worker told. */
  | { type: 'addresses'; worker: number; changes: readonly AddressChange[] }
  /** Another worker has begun or ended. */
  | { type: 'peer_changed'; worker: number };

/** Limits that hold for all workers of the machine together, as one worker sees them. Pure. */
export class MachineShare {
  readonly permits: PermitLease;
  /** None when no address limit is configured. */
  readonly addresses: AddressTable | undefined;
  readonly #workers: number;
  readonly #send: (message: FromShare) => void;

  constructor(config: Config, workers: number, nowMs: number, send: (message: FromShare) => void) {
    const { admission, address } = config;
    const rates = { full: admission.fullRate, resumed: admission.resumedRate };
    this.permits = new PermitLease(rates, workers, nowMs);
    const isLimited = address.maxConnections > 0 || address.connectRate > 0 || address.maxFailures > 0;
    this.addresses = isLimited ? new AddressTable(address, workers) : undefined;
    this.#workers = workers;
    this.#send = send;
  }

  /** Called once a period, with the sockets in line. */
  tick(waiting: ByKind, nowMs: number): void {
    const permits = this.permits.wanted(waiting, nowMs);
    if (permits !== undefined) this.#send({ type: 'permits_wanted', permits });
    if (this.addresses === undefined || this.#workers === 1) return;
    const changes = this.addresses.report(nowMs);
    if (changes.length > 0) this.#send({ type: 'addresses', changes });
  }

  received(message: ToShare, nowMs: number): void {
    switch (message.type) {
      case 'permits':
        this.permits.granted(message.permits, nowMs);
        break;
      case 'addresses':
        this.addresses?.learn(message.worker, message.changes, nowMs);
        break;
      case 'peer_changed':
        this.addresses?.forget(message.worker);
        break;
    }
  }
}
