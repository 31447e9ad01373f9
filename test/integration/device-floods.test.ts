import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { expectUnaffected } from '../helpers/latency.ts';
import { residentBytes } from '../helpers/processes.ts';
import { Traffic } from '../helpers/traffic.ts';

const ROUNDS = 5;
const FLOOD_MS = 3_000;
/** By then, what it may send at once is through. */
const BEGIN_MS = 750;
/** At the default rates, a second's worth that may come at once included. */
const MOST_LINES = 1_000 + FLOOD_MS;
const MOST_BYTES = 2 ** 20 * (1 + FLOOD_MS / 1_000);
/** Rounds last longer than was asked for. */
const SLACK = 1.3;

it.each([
  { lineBytes: 100, ahead: 1_000 },
  { lineBytes: 40_000, ahead: 50 },
])(
  'a device that floods with lines of $lineBytes bytes affects nobody else',
  async ({ lineBytes, ahead }) => {
    // How fast a device may send is what the program says.
    const env = {
      OWSLA_ENDPOINT_MAX_FRAMES_PER_SECOND: undefined,
      OWSLA_ENDPOINT_MAX_BYTES_PER_SECOND: undefined,
    };
    await using gateway = await GatewayProcess.start({ workers: 2, env });
    await using traffic = await Traffic.start(gateway);
    const others = traffic.devices.slice(ROUNDS);
    const calm: number[][] = [];
    const during: number[][] = [];
    await traffic.flows(2_000);
    for (const flooding of traffic.devices.slice(0, ROUNDS)) {
      traffic.takeLatencies();
      await traffic.flows(2 * others.length);
      calm.push(traffic.takeLatencies(others));

      const { current } = flooding;
      const answeredBefore = current.received;
      const endsAtMs = performance.now() + FLOOD_MS;
      const flood = flooding.flood(lineBytes, ahead);
      await delay(BEGIN_MS);
      traffic.takeLatencies();
      await eventually('it has flooded for a while', () => performance.now() > endsAtMs);
      during.push(traffic.takeLatencies(others));
      const answered = current.received - answeredBefore;
      expect(answered).toBeLessThan(SLACK * MOST_LINES);
      expect(answered * lineBytes).toBeLessThan(SLACK * MOST_BYTES);
      flooding.stop();
      await flood;
      await eventually('the last of its lines is answered', () => current.received === current.sent);
    }
    expect(await gateway.metric('owsla_connections_rate_exceeded_total')).toBe(ROUNDS);
    // It is the median that shows a flood; a few lines can come behind a quarter of a second's worth of others.
    expectUnaffected(during, calm, 250);
    await expectAllSettled(traffic);
  },
);

it('a device that floods, with no limit to its rate, takes no more memory than its share', async () => {
  const LINE_BYTES = 40_000;
  const LINES = 4_000;
  /** Of what floods in. */
  const HELD_SHARE = 1 / 2;
  await using gateway = await GatewayProcess.start({ workers: 2 });
  await using traffic = await Traffic.start(gateway);
  const [flooding] = traffic.devices;
  await traffic.flows(2_000);
  const memory = new Map([...(await gateway.workers()).values()].map((pid) => [pid, residentBytes(pid)]));
  const sentBefore = flooding!.current.sent;
  const flood = flooding!.flood(LINE_BYTES);
  await eventually(
    'its share is used up',
    async () => (await gateway.metric('owsla_connections_paused')) > 0,
  );
  let most = 0;
  await eventually(
    'it has flooded for a while',
    () => {
      for (const [pid, bytes] of memory) most = Math.max(most, residentBytes(pid) - bytes);
      return flooding!.current.sent > sentBefore + LINES;
    },
    60_000,
  );
  expect(most).toBeLessThan(HELD_SHARE * LINES * LINE_BYTES);
  flooding!.stop();
  await flood;
  await expectAllSettled(traffic);
});

async function expectAllSettled(traffic: Traffic): Promise<void> {
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
  expect(report.replies.undelivered).toEqual({});
  expect(traffic.drops).toBe(0);
}
