import { describe, expect, test } from 'vitest';
import { int64 } from '../../../src/broker/envelope.ts';
import { Producer, type ProducerLimits } from '../../../src/broker/producer.ts';
import type { Topology } from '../../../src/broker/topology.ts';
import type { Frame, FrameSource } from '../../../src/frame.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { FakeLink, silent } from './fake-broker.ts';

const topology = {
  names: { fromDevice: ['from_device'], inbox: 'inbox' },
  declare: async () => {},
} as unknown as Topology;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A device with frames to give, which publishes while there is room and waits in line where there is none. */
class Source implements FrameSource {
  readonly name: string;
  readonly #producer: Producer;
  readonly #body: Buffer;
  left: number;
  sent = 0;
  confirmed = 0;
  timesLetIn = 0;
  /** Sequence number and limit of each frame that was refused. */
  readonly refused: [number, number][] = [];

  constructor(producer: Producer, name: string, frames: number, bytes = 1) {
    this.#producer = producer;
    this.name = name;
    this.left = frames;
    this.#body = Buffer.alloc(bytes, name);
  }

  give(): void {
    while (this.left > 0) {
      if (!this.#producer.hasRoom) {
        this.#producer.waitForRoom(this);
        return;
      }
      this.left--;
      this.#producer.publish({
        connectionId: this.name,
        deviceId: undefined,
        fromDeviceSeq: this.sent++,
        body: this.#body,
        readAtMs: Date.now(),
        source: this,
      });
    }
  }

  frameConfirmed(_: Frame): void {
    this.confirmed++;
  }

  frameRefused({ fromDeviceSeq }: Frame, maxBytes: number): void {
    this.refused.push([fromDeviceSeq, maxBytes]);
  }

  roomAvailable(): void {
    this.timesLetIn++;
    this.give();
  }
}

async function connected(limits: Partial<ProducerLimits> = {}) {
  const link = new FakeLink();
  const counted = { republished: 0, refused: 0 };
  const observer = {
    frameConfirmed: () => {},
    frameRepublished: () => counted.republished++,
    frameRefused: () => counted.refused++,
  };
  const producer = new Producer(
    link.asLink(),
    topology,
    { windowMessages: 8, windowBytes: 1_000, ...limits },
    new Backoff(0, 0),
    observer,
    silent,
  );
  const channel = await link.connect();
  // The first frame of a channel travels alone; those of the tests come behind it.
  new Source(producer, 'opener', 1).give();
  channel.ack(1);
  await turn();
  channel.published.splice(0);
  const ack = (frame: number, multiple = false) => channel.ack(1 + frame, multiple);
  return { link, producer, counted, channel, ack };
}

describe('device frames', () => {
  test('are published persistent and mandatory, with who sent them and where to answer', async () => {
    const { producer, channel } = await connected();
    const source = new Source(producer, 'a', 0);
    producer.publish({
      connectionId: 'some-connection',
      deviceId: 'meter-1',
      fromDeviceSeq: 3,
      body: Buffer.from('line'),
      readAtMs: 1_900_000_000_999,
      source,
    });
    expect(channel.published).toMatchObject([
      {
        routingKey: 'from_device',
        body: 'line',
        options: {
          headers: { connection_id: 'some-connection', device_id: 'meter-1', from_device_seq: int64(3) },
          persistent: true,
          mandatory: true,
          replyTo: 'inbox',
          timestamp: 1_900_000_000,
        },
      },
    ]);
    expect(channel.published[0]!.options.headers).not.toHaveProperty('republished');
  });

  test('that were unconfirmed when the channel was lost are marked as republished', async () => {
    const { link, producer, counted, channel, ack } = await connected();
    new Source(producer, 'a', 3).give();
    ack(1);
    const next = link.nextChannel();
    channel.fail('404 NOT_FOUND');
    const second = await next;
    second.ack(1);
    expect(second.published.map(({ options }) => options.headers)).toMatchObject([
      { from_device_seq: int64(1), republished: true },
      { from_device_seq: int64(2), republished: true },
    ]);
    expect(counted.republished).toBe(2);
  });
});

describe('a frame that is larger than the broker takes', () => {
  const tooLarge = 'PRECONDITION_FAILED - message size 500 is larger than configured max size 400';

  test('is taken out and refused, and those around it are published again in order', async () => {
    const { link, producer, counted, channel } = await connected();
    const [before, large, behind] = [
      new Source(producer, 'before', 1),
      new Source(producer, 'large', 1, 500),
      new Source(producer, 'behind', 2),
    ];
    for (const source of [before, large, behind]) source.give();
    const next = link.nextChannel();
    channel.fail(tooLarge);
    const second = await next;
    expect(large.refused).toEqual([[0, 400]]);
    expect(counted.refused).toBe(1);
    second.ack(1);
    expect(second.bodies).toEqual(['before', 'behind', 'behind'].map((name) => name[0]));
    second.ack(3, true);
    expect([before.confirmed, large.confirmed, behind.confirmed]).toEqual([1, 0, 2]);
    expect(producer).toMatchObject({ unconfirmedFrames: 0, unconfirmedBytes: 0 });
  });

  test('is refused at once from then on, until the connection is lost: another broker may take more', async () => {
    const { link, producer, channel } = await connected();
    new Source(producer, 'large', 1, 500).give();
    const next = link.nextChannel();
    channel.fail(tooLarge);
    await next;
    const again = new Source(producer, 'again', 2, 500);
    again.give();
    expect(again.refused).toEqual([
      [0, 400],
      [1, 400],
    ]);
    link.lose();
    const third = await link.connect();
    new Source(producer, 'third', 1, 500).give();
    expect(third.bodies).toHaveLength(1);
  });

  test('and alone in the window leaves nobody waiting', async () => {
    const { link, producer, channel } = await connected({ windowBytes: 500 });
    new Source(producer, 'large', 1, 500).give();
    const waiting = new Source(producer, 'waiting', 1);
    waiting.give();
    expect(waiting.sent).toBe(0);
    const idle = producer.idle();
    const next = link.nextChannel();
    channel.fail(tooLarge);
    const second = await next;
    await turn();
    expect(second.bodies).toEqual(['w']);
    second.ack(1);
    await idle;
  });
});

describe('the window of a node', () => {
  test.each([
    ['messages', { windowMessages: 8 }, 1, 8],
    ['bytes', { windowMessages: 1_000, windowBytes: 800 }, 100, 8],
  ])('is full at its bound in %s', async (_, limits, bytes, frames) => {
    const { producer } = await connected(limits);
    const source = new Source(producer, 'a', 100, bytes);
    source.give();
    expect(producer).toMatchObject({
      hasRoom: false,
      unconfirmedFrames: frames,
      unconfirmedBytes: frames * bytes,
    });
  });

  test('lets sources in when a quarter is free, first come first, as many as there is room for', async () => {
    const { producer, ack } = await connected();
    const first = new Source(producer, 'f', 10);
    const others = ['a', 'b', 'c'].map((name) => new Source(producer, name, 1));
    for (const source of [first, ...others]) source.give();
    expect(first.sent).toBe(8);
    ack(1);
    await turn();
    expect(first.timesLetIn).toBe(0);
    ack(2);
    await turn();
    // Two places: the first source takes both, and is served.
    expect([first, ...others].map(({ timesLetIn }) => timesLetIn)).toEqual([1, 0, 0, 0]);
    expect(first.left).toBe(0);
    ack(4, true);
    await turn();
    expect(others.map(({ sent }) => sent)).toEqual([1, 1, 0]);
    ack(6, true);
    await turn();
    expect(others.map(({ sent }) => sent)).toEqual([1, 1, 1]);
  });

  test('has no room for newcomers while others wait in line', async () => {
    const { producer, ack } = await connected();
    const first = new Source(producer, 'f', 10);
    first.give();
    ack(1);
    await turn();
    const newcomer = new Source(producer, 'n', 1);
    newcomer.give();
    expect(newcomer.sent).toBe(0);
    ack(2);
    await turn();
    expect(producer.unconfirmedFrames).toBe(8);
    ack(10, true);
    await turn();
    expect(newcomer.sent).toBe(1);
    expect(producer.hasRoom).toBe(true);
  });

  test('lets a source that has more to give in again after those that came meanwhile', async () => {
    const { producer, ack } = await connected({ windowMessages: 4 });
    const sources = ['a', 'b', 'c'].map((name) => new Source(producer, name, 20));
    for (const source of sources) source.give();
    for (let n = 1; n <= 12; n++) {
      ack(4 * n, true);
      await turn();
    }
    expect(sources.map(({ sent }) => sent)).toEqual([20, 16, 16]);
  });

  test('is idle when every frame is confirmed and nobody waits', async () => {
    const { producer, ack } = await connected({ windowMessages: 2 });
    const source = new Source(producer, 'a', 5);
    source.give();
    let idle = false;
    const waiting = producer.idle().then(() => {
      idle = true;
    });
    for (const tag of [2, 4]) {
      ack(tag, true);
      await turn();
      await turn();
      expect(idle).toBe(false);
    }
    ack(5);
    await waiting;
    expect(source).toMatchObject({ left: 0, confirmed: 5 });
    expect(producer).toMatchObject({ unconfirmedFrames: 0, unconfirmedBytes: 0 });
  });
});
