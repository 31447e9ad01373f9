import type { PrivateBroker } from '../../src/dev/private-broker.ts';

/** What the broker itself has counted since it started, over all queues. */
export interface BrokerCounts {
  /** Messages that publishers gave it. */
  readonly received: number;
  /** Of those, the ones it confirmed. */
  readonly confirmed: number;
  /** Deliveries that consumers acknowledged. */
  readonly acknowledged: number;
}

const COUNTERS = {
  received: 'messages_received_total',
  confirmed: 'messages_confirmed_total',
  acknowledged: 'messages_acknowledged_total',
} as const;

/** Sums the counters that the broker keeps by protocol and queue type; it takes a second. */
export async function brokerCounts(broker: PrivateBroker): Promise<BrokerCounts> {
  const text = await broker.ctl('eval', 'rabbit_global_counters:overview().');
  const sum = (counter: string) =>
    [...text.matchAll(new RegExp(`\\b${counter} => (\\d+)`, 'g'))].reduce(
      (n, [, value]) => n + Number(value),
      0,
    );
  return {
    received: sum(COUNTERS.received),
    confirmed: sum(COUNTERS.confirmed),
    acknowledged: sum(COUNTERS.acknowledged),
  };
}

/** Messages that are still in queues, by queue; only those that are not empty. */
export async function messagesLeft(broker: PrivateBroker): Promise<Record<string, number>> {
  const text = await broker.ctl('list_queues', 'name', 'messages', '--no-table-headers');
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.split('\t'));
  return Object.fromEntries(
    rows.filter(([, messages]) => Number(messages) > 0).map(([name, messages]) => [name, Number(messages)]),
  );
}
