import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Capacity,
  type Fleet,
  HEADROOM,
  MAX_CLUSTER_NODES,
  plan,
} from '../../../../bench/plan/model.ts';
import { ASSUMED_COSTS, COST_NAMES, type UnitCosts } from '../../../../bench/plan/unit-costs.ts';

const FLEET: Fleet = {
  devices: 40_000,
  linesPerS: 4_000,
  repliesPerLine: 1,
  churnPerS: 10,
  resumedShare: 0,
  sharedReplyShare: 0,
  reconnectPerS: Number.POSITIVE_INFINITY,
};

const CAPACITY: Capacity = {
  descriptors: 20_000,
  machineCores: 8,
  machineBytes: 16 * 2 ** 30,
  brokerCores: 8,
  replicas: 3,
};

const fleets = fc.record({
  devices: fc.integer({ min: 1, max: 1e8 }),
  linesPerS: fc.double({ min: 0, max: 1e7, noNaN: true }),
  repliesPerLine: fc.double({ min: 0, max: 10, noNaN: true }),
  churnPerS: fc.double({ min: 0, max: 1e5, noNaN: true }),
  resumedShare: fc.double({ min: 0, max: 1, noNaN: true }),
  sharedReplyShare: fc.double({ min: 0, max: 1, noNaN: true }),
  reconnectPerS: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 1, max: 100_000 })),
});

const capacities = fc.record({
  descriptors: fc.integer({ min: 1, max: 1_048_576 }),
  machineCores: fc.integer({ min: 1, max: 256 }),
  machineBytes: fc.integer({ min: 2 ** 30, max: 2 ** 40 }),
  brokerCores: fc.integer({ min: 1, max: 128 }),
  replicas: fc.constantFrom(1, 3, 5),
});

const costs = fc
  .tuple(...COST_NAMES.map(() => fc.double({ min: 0.1, max: 10, noNaN: true })))
  .map(
    (factors) =>
      Object.fromEntries(
        COST_NAMES.map((name, index) => [name, ASSUMED_COSTS[name] * factors[index]!]),
      ) as UnitCosts,
  );

const SIZES = ['processes', 'machines', 'brokerNodes', 'brokerClusters', 'shards'] as const;

describe('the capacity model', () => {
  test('gives the sizes that its formulas say', () => {
    const { resources, ...sized } = plan(FLEET, CAPACITY, ASSUMED_COSTS);
    // 4,000 × (30 + 23) µs + 10 × (575 + 2 × 20) µs
    expect(sized.gatewayCores).toBeCloseTo(0.218_15, 9);
    // (20,000 − 96) × 0.8
    expect(sized.devicesPerProcess).toBe(15_923);
    expect(sized).toMatchObject({ processesByDescriptors: 3, processesByCpu: 1, processes: 3 });
    // 3 × 120 MB + 40,000 × 34.2 kB
    expect(sized.gatewayBytes).toBe(1_728_000_000);
    expect(sized.machines).toBe(1);
    // (4,000 + 4,000 + 2 × 10) × (50 + 2 × 25) µs
    expect(sized.hopsPerS).toBe(8_020);
    expect(sized.brokerCoresUsed).toBeCloseTo(0.802, 9);
    expect(sized).toMatchObject({ brokerNodes: 3, brokerClusters: 1, shards: 1 });
    // 40,000 / ((3 × 0.9 − 0.218…) cores / (575 + 20) µs)
    expect(sized.reconnectS).toBeCloseTo(9.59, 2);
    expect(resources[0]!.name).toBe('descriptors of the gateway processes');
  });

  test('counts the further hop, and the forward, of replies that come through the shared queue', () => {
    const direct = plan(FLEET, CAPACITY, ASSUMED_COSTS);
    const shared = plan({ ...FLEET, sharedReplyShare: 1 }, CAPACITY, ASSUMED_COSTS);
    expect(shared.hopsPerS - direct.hopsPerS).toBe(4_000);
    expect(shared.gatewayCores - direct.gatewayCores).toBeCloseTo(0.12, 9);
  });

  test('takes as long to reconnect as the slowest of offer, gateway and broker', () => {
    expect(plan({ ...FLEET, reconnectPerS: 100 }, CAPACITY, ASSUMED_COSTS).reconnectS).toBe(400);
    const quiet = { ...FLEET, linesPerS: 0, churnPerS: 0 };
    const slowBroker = plan(quiet, CAPACITY, { ...ASSUMED_COSTS, messageUs: 10_000 });
    expect(slowBroker.brokerReconnectPerS).toBeLessThan(slowBroker.gatewayReconnectPerS);
    expect(slowBroker.reconnectS).toBe(40_000 / slowBroker.brokerReconnectPerS);
  });

  test('never sizes anything to nothing, and stays within its headroom', () => {
    fc.assert(
      fc.property(fleets, capacities, costs, (fleet, capacity, costs) => {
        const sized = plan(fleet, capacity, costs);
        for (const size of SIZES) {
          expect(Number.isSafeInteger(sized[size])).toBe(true);
          expect(sized[size]).toBeGreaterThanOrEqual(1);
        }
        expect(sized.gatewayCores / sized.processes).toBeLessThanOrEqual(HEADROOM.processCpu * 1.000_001);
        expect(sized.devicesPerProcess * sized.processes).toBeGreaterThanOrEqual(fleet.devices);
        expect(sized.machines * capacity.machineCores).toBeGreaterThanOrEqual(sized.processes);
        expect(sized.machines * capacity.machineBytes).toBeGreaterThanOrEqual(sized.gatewayBytes);
        expect(sized.brokerNodes).toBeGreaterThanOrEqual(capacity.replicas);
        expect(sized.brokerNodes).toBeGreaterThanOrEqual(sized.brokerClusters * capacity.replicas);
        expect(sized.brokerNodesByCpu).toBeLessThanOrEqual(sized.brokerClusters * MAX_CLUSTER_NODES);
        expect(sized.shards * costs.queueRate).toBeGreaterThanOrEqual(fleet.linesPerS);
        expect(sized.reconnectS).toBeGreaterThan(0);
        expect(Number.isFinite(sized.reconnectS)).toBe(true);
      }),
    );
  });

  test('needs no less for more devices, and no less for more lines', () => {
    fc.assert(
      fc.property(
        fleets,
        capacities,
        costs,
        fc.integer({ min: 0, max: 1e7 }),
        fc.double({ min: 0, max: 1e6, noNaN: true }),
        (fleet, capacity, costs, moreDevices, moreLines) => {
          const before = plan(fleet, capacity, costs);
          const larger = plan({ ...fleet, devices: fleet.devices + moreDevices }, capacity, costs);
          const busier = plan({ ...fleet, linesPerS: fleet.linesPerS + moreLines }, capacity, costs);
          for (const size of SIZES) {
            expect(larger[size]).toBeGreaterThanOrEqual(before[size]);
            expect(busier[size]).toBeGreaterThanOrEqual(before[size]);
          }
        },
      ),
    );
  });

  test('names first what is fullest', () => {
    fc.assert(
      fc.property(fleets, capacities, costs, (fleet, capacity, costs) => {
        const uses = plan(fleet, capacity, costs).resources.map(({ use }) => use);
        expect(uses).toEqual([...uses].sort((a, b) => b - a));
      }),
    );
    const busy = plan({ ...FLEET, devices: 100, linesPerS: 14_900 }, CAPACITY, ASSUMED_COSTS);
    expect(busy.resources[0]!.name).toBe('from_device shards');
  });
});
