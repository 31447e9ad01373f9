import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { uniqueNames } from '../helpers/names.ts';
import { watchDeletion } from '../helpers/queues.ts';

describe('two gateway instances with the same names', () => {
  test('reply to the devices of each other', async () => {
    const names = uniqueNames();
    await using one = await GatewayProcess.start({ names });
    await using two = await GatewayProcess.start({ names });
    await using backend = await Backend.connect(names);
    await backend.collect();
    const fleet = [...(await connectTen(one)), ...(await connectTen(two))];
    const ids = await identify(backend, fleet);
    expect(new Set(ids.map(nodeOf)).size).toBe(2);

    const REPLIES = 50;
    for (let seq = 0; seq < REPLIES; seq++) for (const id of ids) backend.reply(id, `${id} ${seq}`, { seq });
    for (const [index, device] of fleet.entries()) {
      const expected = Array.from({ length: REPLIES }, (_, seq) => `${ids[index]} ${seq}`);
      expect(await device.received(REPLIES)).toEqual(expected);
    }
    // Each took some of the other's from the shared queue.
    expect(await one.metric('owsla_replies_forwarded_total')).toBeGreaterThan(0);
    expect(await two.metric('owsla_replies_forwarded_total')).toBeGreaterThan(0);
    expect(backend.undelivered).toEqual([]);
  });

  test('are not disturbed by an inbox that refuses everything, nor by such a queue of events', async () => {
    const REPLIES = 400;
    const names = uniqueNames();
    const env = { OWSLA_REPLY_FORWARD_GRACE_MS: '200ms', OWSLA_READINESS_INTERVAL_MS: '200ms' };
    await using one = await GatewayProcess.start({ names, env });
    await using two = await GatewayProcess.start({ names, env });
    await using backend = await Backend.connect(names);
    await backend.collect();
    // Anybody can declare an inbox.
    const stranger = 'f1f1f1f1f1f1';
    await backend.declareFull(names.inboxPrefix + stranger);
    await backend.declareFull(`${names.events}.full`, { events: true });
    const fleet = [await Device.connect(one.port), await Device.connect(two.port)];
    const ids = await identify(backend, fleet);
    const poisoned = ids[0]!.slice(0, -stranger.length) + stranger;
    const notReady = () => [one, two].flatMap(({ log }) => log.filter(({ msg }) => msg === 'not ready'));

    for (let n = 0; n < 20; n++) backend.reply(poisoned, `poison ${n}`);
    for (let n = 0; n < REPLIES; n++) {
      for (const id of ids) backend.reply(id, `reply ${n}`);
      if (n % 100 === 99) await delay(500);
    }
    for (const device of fleet) await device.received(REPLIES);
    await eventually('the others are undelivered', () => backend.undelivered.length === 20);
    for (const { properties } of backend.undelivered)
      expect(properties.headers).toMatchObject({
        reason: 'not_connected',
        reason_detail: expect.stringContaining('refuses'),
      });
    for (const device of fleet) {
      const came = device.text.sort();
      expect(came).toEqual(Array.from({ length: REPLIES }, (_, n) => `reply ${n}`).sort());
    }
    expect(notReady()).toEqual([]);
    const opened = backend.events.filter(({ event }) => event === 'connection.opened');
    expect(opened.length).toBeLessThanOrEqual(3 * fleet.length);
  });

  test('record the later replies for one that was stopped, and lose none', async () => {
    const names = uniqueNames();
    const env = { OWSLA_AMQP_INBOX_TTL_MS: '1000', OWSLA_REPLY_FORWARD_GRACE_MS: '200' };
    await using stopped = await GatewayProcess.start({ names, env });
    await using staying = await GatewayProcess.start({ names, env });
    await using backend = await Backend.connect(names);
    await backend.collect();
    using device = await Device.connect(stopped.port);
    using other = await Device.connect(staying.port);
    const [id, otherId] = await identify(backend, [device, other]);
    const inbox = names.inboxPrefix + nodeOf(id!);

    // Before, during and after the stop, by either way.
    const published: string[] = [];
    const publish = () => {
      const seq = published.length;
      published.push(`reply ${seq}`);
      backend.reply(id!, `reply ${seq}`, seq % 2 === 0 ? { seq } : { seq, queue: inbox });
      backend.reply(otherId!, `reply ${seq}`, { seq });
    };
    for (let i = 0; i < 100; i++) publish();
    await device.received(1);
    const exitCode = stopped.stop();
    let isStopping = true;
    const ended = () => {
      isStopping = false;
    };
    exitCode.then(ended, ended);
    while (isStopping) {
      // So few that those of the short way do not overflow while those of the long one are on theirs.
      for (let i = 0; i < 4; i++) publish();
      await backend.flushed();
      await delay(20);
    }
    expect(await exitCode).toBe(0);
    for (let i = 0; i < 100; i++) publish();

    expect(await other.received(published.length)).toEqual(published);
    const undelivered = () => backend.undelivered.map(({ content }) => String(content));
    const seen = () => new Set([...device.text, ...undelivered()]);
    await eventually('a fate for every reply', () => seen().size === published.length);
    expect(device.text).toEqual(published.slice(0, device.lines.length));
    for (const { properties } of backend.undelivered) expect(fateOf(properties.headers!)).toMatch(FATES);
    expect(backend.undelivered.map(({ properties }) => fateOf(properties.headers!))).toContain(
      'inbox expired',
    );
  });

  test('answer not_connected once the inbox of one that is gone has expired', async () => {
    const names = uniqueNames();
    const env = {
      OWSLA_AMQP_INBOX_TTL_MS: '500',
      OWSLA_AMQP_INBOX_EXPIRES_MS: '1000',
      OWSLA_REPLY_FORWARD_GRACE_MS: '200',
    };
    await using stopped = await GatewayProcess.start({ names, env });
    await using staying = await GatewayProcess.start({ names, env });
    await using backend = await Backend.connect(names);
    await backend.collect();
    using device = await Device.connect(stopped.port);
    using other = await Device.connect(staying.port);
    const [id, otherId] = await identify(backend, [device, other]);
    const inbox = await watchDeletion(names.inboxPrefix + nodeOf(id!));
    expect(await stopped.stop()).toBe(0);
    await device.closed;
    await inbox.deleted();

    for (let seq = 0; seq < 300; seq++) backend.reply(id!, `reply ${seq}`, { seq });
    backend.reply(otherId!, 'still here', { seq: 0 });
    expect(await other.received(1)).toEqual(['still here']);
    const undelivered = await backend.undeliveredCount(300);
    expect(new Set(undelivered.map(({ properties }) => properties.headers!.reason))).toEqual(
      new Set(['not_connected']),
    );
    expect(undelivered[0]!.properties.headers!.reason_detail).toContain(nodeOf(id!));
    expect(new Set(undelivered.map(({ content }) => String(content))).size).toBe(300);
  });
});

function nodeOf(connectionId: string): string {
  return connectionId.slice(-12);
}

async function connectTen(gateway: GatewayProcess): Promise<Device[]> {
  return await Promise.all(Array.from({ length: 10 }, () => Device.connect(gateway.port)));
}

/** The connection ids of these devices. */
async function identify(backend: Backend, devices: Device[]): Promise<string[]> {
  return await Promise.all(
    devices.map(async (device, index) => {
      await device.send(`I am ${index}`);
      return await backend.connectionOf(`I am ${index}`);
    }),
  );
}

const FATES = /^(connection_closed|not_connected|inbox expired)$/;

/** The gateway's reason, or what RabbitMQ itself noted on a reply that waited too long in an inbox. */
function fateOf(headers: Record<string, unknown>): string {
  if (headers.reason !== undefined) return String(headers.reason);
  const [death] = headers['x-death'] as { queue: string; reason: string }[];
  return `${death!.queue.includes('.inbox.') ? 'inbox' : death!.queue} ${death!.reason}`;
}
