import type { ConsumeMessage } from 'amqplib';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ConsumerSession } from '../../../src/broker/consumer-session.ts';
import { RoundTrip } from '../../../src/broker/round-trip.ts';
import type { Topology } from '../../../src/broker/topology.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { type FakeChannel, FakeLink, type Published, silent } from './fake-broker.ts';

const INTERVAL_MS = 3_000;
const TIMEOUT_MS = 2_000;
const topology = { names: { inbox: 'inbox' }, declare: async () => {} } as unknown as Topology;

class FakeSession {
  readonly settledTags: number[] = [];

  settled({ fields }: ConsumeMessage): void {
    this.settledTags.push(fields.deliveryTag);
  }
}

/** A round trip that has begun, over a link that is not yet connected. */
function begin() {
  const link = new FakeLink();
  const node = { isWhole: true };
  const session = new FakeSession();
  const changes: [works: boolean, reason: string][] = [];
  const options = { intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS };
  const roundTrip = new RoundTrip(
    link.asLink(),
    topology,
    options,
    () => node.isWhole,
    new Backoff(0, 0),
    silent,
  );
  roundTrip.onChange((works, reason) => changes.push([works, reason]));
  roundTrip.start();

  const consume = (probe: Published) =>
    roundTrip.takes(
      {
        content: Buffer.from(probe.body),
        properties: probe.options,
        fields: { deliveryTag: 7 },
      } as unknown as ConsumeMessage,
      session as unknown as ConsumerSession,
    );
  const complete = (probe: Published) => {
    probe.confirmed!(null);
    consume(probe);
  };
  return { link, node, session, changes, roundTrip, consume, complete };
}

async function connect(link: FakeLink): Promise<FakeChannel> {
  const channel = link.connect();
  await vi.advanceTimersByTimeAsync(1);
  return channel;
}

function lastProbe(channel: FakeChannel): Published {
  return channel.published.at(-1)!;
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the broker round trip', () => {
  test('tells of a confirm, whether the probe comes back or not, and of no refusal or late one', async () => {
    const { link, roundTrip, consume } = begin();
    const told = vi.fn();
    roundTrip.onConfirmed(told);
    const channel = await connect(link);
    const first = lastProbe(channel);
    consume(first);
    first.confirmed!(new Error('message nacked'));
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
    expect(told).not.toHaveBeenCalled();
    const second = lastProbe(channel);
    second.confirmed!(null);
    expect(told).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
    const third = lastProbe(channel);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
    third.confirmed!(null);
    expect(told).toHaveBeenCalledTimes(1);
  });

  test('works once a probe was both confirmed and consumed, in either order', async () => {
    for (const consumedFirst of [true, false]) {
      const { link, roundTrip, changes, consume, session } = begin();
      const channel = await connect(link);
      const probe = lastProbe(channel);
      expect(probe).toMatchObject({ routingKey: 'inbox', options: { mandatory: true } });
      const [first, second] = [() => consume(probe), () => probe.confirmed!(null)];
      (consumedFirst ? first : second)();
      expect(roundTrip.works).toBe(false);
      (consumedFirst ? second : first)();
      expect(roundTrip.works).toBe(true);
      expect(changes).toEqual([[true, expect.any(String)]]);
      expect(session.settledTags).toEqual([7]);
      roundTrip.stop();
    }
  });

  test('is probed again after each interval, and stays in order', async () => {
    const { link, roundTrip, changes, complete } = begin();
    const channel = await connect(link);
    for (let n = 0; n < 5; n++) {
      complete(lastProbe(channel));
      const before = channel.published.length;
      await vi.advanceTimersByTimeAsync(INTERVAL_MS);
      expect(channel.published).toHaveLength(before + 1);
    }
    expect(changes).toHaveLength(1);
    roundTrip.stop();
  });

  test.each<[string, (probe: Published, consume: (probe: Published) => void) => void]>([
    ['not confirmed', (probe, consume) => consume(probe)],
    ['not consumed', (probe) => probe.confirmed!(null)],
    [
      'refused',
      (probe, consume) => {
        consume(probe);
        probe.confirmed!(new Error('message nacked'));
      },
    ],
    ['neither', () => {}],
  ])('fails when a probe is %s in time, and the next one decides anew', async (_, answer) => {
    const { link, roundTrip, changes, complete, consume } = begin();
    const channel = await connect(link);
    complete(lastProbe(channel));
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    const late = lastProbe(channel);
    answer(late, consume);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS - 1);
    expect(roundTrip.works).toBe(true);
    await vi.advanceTimersByTimeAsync(2);
    expect(roundTrip.works).toBe(false);
    expect(changes.at(-1)).toEqual([false, expect.stringContaining(`${TIMEOUT_MS} ms`)]);

    const next = lastProbe(channel);
    complete(late);
    consume(next);
    expect(roundTrip.works).toBe(false);
    next.confirmed!(null);
    expect(roundTrip.works).toBe(true);
    roundTrip.stop();
  });

  test('fails at once when the broker blocks publishing, or the connection is lost', async () => {
    const { link, roundTrip, changes, complete } = begin();
    let channel = await connect(link);
    complete(lastProbe(channel));
    link.block(true);
    expect(roundTrip.works).toBe(false);
    await vi.advanceTimersByTimeAsync(10 * TIMEOUT_MS);
    const probes = channel.published.length;
    expect(roundTrip.works).toBe(false);
    link.block(false);
    await vi.advanceTimersByTimeAsync(2 * TIMEOUT_MS);
    expect(channel.published.length).toBeGreaterThan(probes);
    complete(lastProbe(channel));
    expect(roundTrip.works).toBe(true);
    link.lose();
    expect(roundTrip.works).toBe(false);
    channel = await connect(link);
    complete(lastProbe(channel));
    expect(roundTrip.works).toBe(true);
    // The reason for not working may change in between.
    const turns = changes.map(([works]) => works).filter((works, index, all) => works !== all[index - 1]);
    expect(turns).toEqual([true, false, true, false, true]);
    roundTrip.stop();
  });

  test('fails at once when its channel is lost, and opens another', async () => {
    const { link, roundTrip, complete } = begin();
    const first = await connect(link);
    complete(lastProbe(first));
    const next = link.nextChannel();
    first.fail('404 NOT_FOUND');
    expect(roundTrip.works).toBe(false);
    await vi.advanceTimersByTimeAsync(10);
    const second = await next;
    await vi.advanceTimersByTimeAsync(1);
    complete(lastProbe(second));
    expect(roundTrip.works).toBe(true);
    roundTrip.stop();
  });

  test('does not work while another channel of the node is down', async () => {
    const { link, node, roundTrip, complete } = begin();
    node.isWhole = false;
    const channel = await connect(link);
    complete(lastProbe(channel));
    expect(roundTrip.works).toBe(false);
    node.isWhole = true;
    await vi.advanceTimersByTimeAsync(100);
    complete(lastProbe(channel));
    expect(roundTrip.works).toBe(true);
    roundTrip.stop();
  });

  test.each([
    ['of another type', { type: 'reply' }, ''],
    ['with a body', {}, 'body'],
    ['that name a connection', { headers: { connection_id: 'c' } }, ''],
    ['that name a device', { headers: { device_id: 'd' } }, ''],
  ])('leaves replies %s to others', async (_, properties, body) => {
    const { link, session, roundTrip, consume } = begin();
    const channel = await connect(link);
    const { options } = lastProbe(channel);
    expect(consume({ routingKey: '', body, options: { ...options, ...properties } })).toBe(false);
    expect(session.settledTags).toEqual([]);
    roundTrip.stop();
  });

  test.each([
    ['an earlier time', (id: string) => id.replace(/\d+$/, '999')],
    ['another process', (id: string) => id.replace(/^\S+/, 'other')],
    ['nobody', () => undefined],
  ])('settles the probe of %s, and takes it for nothing', async (_, change) => {
    const { link, session, roundTrip, consume } = begin();
    const channel = await connect(link);
    const { options } = lastProbe(channel);
    const messageId = change(options.messageId as string);
    expect(consume({ routingKey: '', body: '', options: { ...options, messageId } })).toBe(true);
    lastProbe(channel).confirmed!(null);
    expect(roundTrip.works).toBe(false);
    expect(session.settledTags).toEqual([7]);
    roundTrip.stop();
  });

  test('is not probed after a stop', async () => {
    const { link, roundTrip } = begin();
    const channel = await connect(link);
    roundTrip.stop();
    const before = channel.published.length;
    await vi.advanceTimersByTimeAsync(10 * INTERVAL_MS);
    expect(channel.published).toHaveLength(before);
    expect(vi.getTimerCount()).toBe(0);
  });
});
