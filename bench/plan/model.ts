import type { UnitCosts } from './unit-costs.ts';

/** What there is to serve. */
export interface Fleet {
  readonly devices: number;
  /** From all devices together. */
  readonly linesPerS: number;
  /** Replies for each line. */
  readonly repliesPerLine: number;
  /** New connections in ordinary operation, from all devices together. */
  readonly churnPerS: number;
  /** Share of handshakes that resume a session, 0 to 1. */
  readonly resumedShare: number;
  /** Share of replies that come through the shared queue and not to the inbox of their node, 0 to 1. */
  readonly sharedReplyShare: number;
  /** The most connections a second that devices or a load balancer offer when all reconnect. */
  readonly reconnectPerS: number;
}

/** What there is to serve it with, and how much of that may be used. */
export interface Capacity {
  /** Descriptors that a gateway process may have. */
  readonly descriptors: number;
  readonly machineCores: number;
  readonly machineBytes: number;
  readonly brokerCores: number;
  /** Nodes that keep a copy of each queue: 3 or 5 for quorum queues, 1 for classic ones. */
  readonly replicas: number;
}

/** Shares of a resource that are planned with; the rest is for bursts, uneven load, and what fails. */
export const HEADROOM = {
  /** Of a core, by a gateway process in ordinary operation. */
  processCpu: 0.6,
  /** Of a core, of gateway and broker, while everybody reconnects. */
  reconnectCpu: 0.9,
  descriptors: 0.8,
  memory: 0.8,
  brokerCpu: 0.5,
  queueRate: 0.6,
} as const;

/** What a gateway process keeps back for the broker, logs and files. */
export const RESERVED_DESCRIPTORS = 96;

/** RabbitMQ advises against larger clusters: every node talks to every other one. */
export const MAX_CLUSTER_NODES = 7;

/** How full a resource is with what was planned: 1 is its end, with no headroom left. */
export interface Resource {
  readonly name: string;
  readonly use: number;
}

export interface Plan {
  readonly fleet: Fleet;
  readonly capacity: Capacity;
  /** Cores' worth of work of all gateway processes in ordinary operation. */
  readonly gatewayCores: number;
  readonly devicesPerProcess: number;
  readonly processesByDescriptors: number;
  readonly processesByCpu: number;
  readonly processes: number;
  readonly gatewayBytes: number;
  readonly machinesByCores: number;
  readonly machinesByMemory: number;
  readonly machines: number;
  /** Messages through a queue a second: each hop counts. */
  readonly hopsPerS: number;
  /** Cores' worth of work of all broker nodes, copies included. */
  readonly brokerCoresUsed: number;
  readonly brokerNodesByCpu: number;
  readonly brokerNodes: number;
  readonly brokerClusters: number;
  readonly shards: number;
  /** Connections a second while all devices reconnect: what the gateway processes can take, … */
  readonly gatewayReconnectPerS: number;
  /** … and what the broker can, which gets an event for each. */
  readonly brokerReconnectPerS: number;
  readonly reconnectS: number;
  /** Fullest first. */
  readonly resources: readonly Resource[];
}

const US_PER_S = 1_000_000;

/** Sizes a system for a fleet. Formulas and assumptions are in docs/scaling.md. */
export function plan(fleet: Fleet, capacity: Capacity, costs: UnitCosts): Plan {
  const repliesPerS = fleet.linesPerS * fleet.repliesPerLine;
  const replyUs = Math.max(0, costs.roundTripUs - costs.lineUs);
  const handshakeUs =
    (1 - fleet.resumedShare) * costs.fullHandshakeUs + fleet.resumedShare * costs.resumedHandshakeUs;

  const gatewayCores =
    (fleet.linesPerS * costs.lineUs +
      repliesPerS * (replyUs + fleet.sharedReplyShare * costs.forwardUs) +
      fleet.churnPerS * (handshakeUs + 2 * costs.eventUs)) /
    US_PER_S;
  const slots = Math.max(1, capacity.descriptors - RESERVED_DESCRIPTORS);
  const devicesPerProcess = Math.max(1, Math.floor(slots * HEADROOM.descriptors));
  const processesByDescriptors = Math.ceil(fleet.devices / devicesPerProcess);
  const processesByCpu = Math.ceil(gatewayCores / HEADROOM.processCpu);
  const processes = Math.max(1, processesByDescriptors, processesByCpu);

  const gatewayBytes = processes * costs.processBytes + fleet.devices * costs.connectionBytes;
  const machinesByCores = Math.ceil(processes / capacity.machineCores);
  const machinesByMemory = Math.ceil(gatewayBytes / (capacity.machineBytes * HEADROOM.memory));
  const machines = Math.max(1, machinesByCores, machinesByMemory);

  const sharedRepliesPerS = repliesPerS * fleet.sharedReplyShare;
  const hopsPerS = fleet.linesPerS + repliesPerS + sharedRepliesPerS + 2 * fleet.churnPerS;
  const hopUs = costs.messageUs + (capacity.replicas - 1) * costs.replicaUs;
  const brokerCoresUsed = (hopsPerS * hopUs) / US_PER_S;
  const brokerNodesByCpu = Math.ceil(brokerCoresUsed / (capacity.brokerCores * HEADROOM.brokerCpu));
  const brokerClusters = Math.max(1, Math.ceil(brokerNodesByCpu / MAX_CLUSTER_NODES));
  const brokerNodes = Math.max(brokerClusters * capacity.replicas, brokerNodesByCpu);
  const shards = Math.max(
    brokerClusters,
    Math.ceil(fleet.linesPerS / (costs.queueRate * HEADROOM.queueRate)),
  );

  // As if all lines came while nobody is back yet: the worst of both, and never nothing, as CPU has headroom.
  const spareCores = processes * HEADROOM.reconnectCpu - gatewayCores;
  const gatewayReconnectPerS = (spareCores * US_PER_S) / (handshakeUs + costs.eventUs);
  const spareBrokerCores = brokerNodes * capacity.brokerCores * HEADROOM.reconnectCpu - brokerCoresUsed;
  const brokerReconnectPerS = (spareBrokerCores * US_PER_S) / hopUs;
  const reconnectPerS = Math.min(gatewayReconnectPerS, brokerReconnectPerS, fleet.reconnectPerS);

  const resources = [
    { name: 'CPU of the gateway processes', use: gatewayCores / processes },
    { name: 'descriptors of the gateway processes', use: fleet.devices / (processes * slots) },
    { name: 'memory of the gateway machines', use: gatewayBytes / (machines * capacity.machineBytes) },
    { name: 'CPU of the broker nodes', use: brokerCoresUsed / (brokerNodes * capacity.brokerCores) },
    { name: 'from_device shards', use: fleet.linesPerS / (shards * costs.queueRate) },
    // There is one in each cluster: it cannot be split.
    { name: 'the to_device queue', use: sharedRepliesPerS / (brokerClusters * costs.queueRate) },
  ].sort((a, b) => b.use - a.use);

  return {
    fleet,
    capacity,
    gatewayCores,
    devicesPerProcess,
    processesByDescriptors,
    processesByCpu,
    processes,
    gatewayBytes,
    machinesByCores,
    machinesByMemory,
    machines,
    hopsPerS,
    brokerCoresUsed,
    brokerNodesByCpu,
    brokerNodes,
    brokerClusters,
    shards,
    gatewayReconnectPerS,
    brokerReconnectPerS,
    reconnectS: fleet.devices / reconnectPerS,
    resources,
  };
}
