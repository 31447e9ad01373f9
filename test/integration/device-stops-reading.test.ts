import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { expectUnaffected } from '../helpers/latency.ts';
import { Publisher } from '../helpers/publisher.ts';
import { Traffic } from '../helpers/traffic.ts';

it('a device that never reads is closed as slow_consumer, and holds up nobody else', {
  timeout: 300_000,
}, async () => {
  const ROUNDS = 7;
  const REPLIES = 2_000;
  const PAUSE_MS = 20;
  /** Of the device that is slow now. */
  let undelivered: { n: number; reason: string }[] = [];
  await using gateway = await GatewayProcess.start({ workers: 2 });
  await using traffic = await Traffic.start(gateway, {
    strayUndelivered: ({ content, properties }) => {
      const [, n] = /^answer (\d+) /.exec(content.toString('latin1', 0, 20)) ?? [];
      if (n !== undefined) undelivered.push({ n: Number(n), reason: properties.headers!.reason });
      return n !== undefined;
    },
  });
  await using publisher = await Publisher.connect();
  /** More than the kernels hold for a device that does not read. */
  const keepReplying = async (id: string) => {
    const inbox = gateway.inboxOf(id);
    for (let n = 0; n < REPLIES; n++) {
      publisher.publish(inbox, `answer ${n} `.padEnd(10_000, '.'), { headers: { connection_id: id } });
      if (n % 20 === 0) await Promise.all([publisher.flushed(), delay(PAUSE_MS)]);
    }
  };
  const setAside = () => gateway.metric('owsla_replies_set_aside_total');
  const closed = () => gateway.metric('owsla_connections_closed_total', { reason: 'slow_consumer' });
  const others = traffic.devices.slice(ROUNDS);
  const calm: number[][] = [];
  const during: number[][] = [];

  // What so many replies alone do to the others: here the device reads.
  using brisk = await traffic.connectGuest('brisk', 'answer');
  for (const [round, slow] of traffic.devices.slice(0, ROUNDS).entries()) {
    const setAsideBefore = await setAside();
    await traffic.flows();
    traffic.takeLatencies();
    await keepReplying(brisk.connectionId);
    await eventually('all of them', () => brisk.strays() === (round + 1) * REPLIES);
    await traffic.flows(others.length);
    calm.push(traffic.takeLatencies(others));
    expect(await setAside()).toBe(setAsideBefore);
    expect(undelivered).toEqual([]);

    await traffic.flows();
    slow.stall();
    traffic.takeLatencies();
    await keepReplying(traffic.ledger.connectionIdOf(slow.current.session)!);
    expect(await setAside()).toBeGreaterThan(setAsideBefore);
    await eventually('it is closed', async () => (await closed()) === round + 1);
    await traffic.flows(others.length);
    during.push(traffic.takeLatencies(others));
    // The first ones went to the kernel; every other has its fate, once.
    await eventually('a fate for all the others', () => {
      const fates = undelivered.map(({ n }) => n);
      return fates.length > 0 && Math.min(...fates) + fates.length === REPLIES;
    });
    slow.abandon();
    expect(new Set(undelivered.map(({ n }) => n)).size).toBe(undelivered.length);
    const reasons = new Set(undelivered.map(({ reason }) => reason));
    // It was closed well before the last of them came.
    expect([...reasons].sort()).toEqual(['not_connected', 'slow_consumer']);
    undelivered = [];
  }
  expectUnaffected(during, calm, 30);
  const report = await traffic.settle();
  expect(report.violations).toEqual([]);
  expect(report.replies.lost).toBe(0);
  expect(traffic.drops).toBe(ROUNDS);
  expect(await gateway.metric('owsla_connections')).toBe(others.length + 1);

  // The gateway counts the same.
  const total = (name: string) => gateway.metric(`owsla_${name}`);
  const settled = (await total('frames_sent_total')) + (await total('replies_undelivered_total'));
  expect(settled).toBe(report.replies.published + 2 * ROUNDS * REPLIES);
});
