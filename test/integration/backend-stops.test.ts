import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { residentBytes } from '../helpers/processes.ts';
import { queueDepth } from '../helpers/queues.ts';
import { Traffic } from '../helpers/traffic.ts';

const LINE_BYTES = 16_000;
const LINES = 5_000;

it.each(['classic', 'quorum'])(
  'a backend that takes no lines for a while makes a queue at the broker and none in the gateway (%s)',
  async (queueType) => {
    await using gateway = await GatewayProcess.start({
      workers: 2,
      env: { OWSLA_AMQP_QUEUE_TYPE: queueType },
    });
    await using traffic = await Traffic.start(gateway, { lineBytes: LINE_BYTES, lineEveryMs: 300 });
    await traffic.flows(1_000);
    const pids = [...(await gateway.workers()).values()];
    const memory = () => pids.reduce((bytes, pid) => bytes + residentBytes(pid), 0);
    const memoryBefore = memory();

    await traffic.backend.pause();
    let mostUnconfirmed = 0;
    await eventually('the queue grows', async () => {
      mostUnconfirmed = Math.max(mostUnconfirmed, await gateway.metric('owsla_unconfirmed_frames'));
      return (await queueDepth(gateway.names.fromDevice))! > LINES;
    });
    // What is on its way to the broker and back, and does not grow with the queue.
    expect(mostUnconfirmed).toBeLessThan(LINES / 4);
    expect(memory() - memoryBefore).toBeLessThan((LINES * LINE_BYTES) / 2);
    expect(await gateway.readiness()).toMatchObject({ ready: true });
    expect(traffic.drops).toBe(0);

    traffic.backend.resume();
    const report = await traffic.settle();
    expect(report.violations).toEqual([]);
    expect(report).toMatchObject({ lines: { lost: 0, unmarked: 0, misordered: 0 }, replies: { lost: 0 } });
    expect(report.replies.undelivered).toEqual({});
    expect(report.lines.taken).toBe(traffic.sent);
    expect(await queueDepth(gateway.names.fromDevice)).toBe(0);
    expect(traffic.drops).toBe(0);
  },
);
