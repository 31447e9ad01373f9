import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConfirmedPublisher, type PublisherOptions } from '../../../src/broker/confirmed-publisher.ts';
import { Backoff } from '../../../src/util/backoff.ts';
import { type FakeChannel, FakeLink, silent } from './fake-broker.ts';

function publisher(options: Partial<PublisherOptions<string>> = {}) {
  const link = new FakeLink();
  const confirmed: string[] = [];
  const published = new ConfirmedPublisher<string>(
    link.asLink(),
    {
      name: 'test',
      prepare: async () => {},
      send: (channel, entry, republished) =>
        channel.publish('', 'queue', Buffer.from(republished ? `${entry} again` : entry), {}),
      confirmed: (entry) => confirmed.push(entry),
      ...options,
    },
    new Backoff(0, 0),
    silent,
  );
  const push = (...entries: string[]) => {
    for (const entry of entries) published.push(entry);
  };
  return { link, publisher: published, confirmed, push };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('messages', () => {
  test('wait for the channel, and leave in order', async () => {
    const { link, push, publisher: published } = publisher();
    push('a', 'b');
    expect(published.isUp).toBe(false);
    const channel = await link.connect();
    push('c');
    expect(channel.bodies).toEqual(['a', 'b', 'c']);
    expect(published).toMatchObject({ isUp: true, size: 3 });
  });

  test('are kept until the broker confirms them, one by one or many at once', async () => {
    const { link, push, confirmed, publisher: published } = publisher();
    const channel = await link.connect();
    push('a', 'b', 'c', 'd');
    channel.ack(3);
    channel.ack(2, true);
    expect(confirmed).toEqual(['c', 'a', 'b']);
    expect(published.size).toBe(1);
  });

  test('leave at a pace where there is one: as many bytes as may be unconfirmed', async () => {
    let maxBytes = 10;
    const pace = { maxBytes: () => maxBytes };
    const bytesOf = (entry: string) => entry.length;
    const { link, push, confirmed, publisher: published } = publisher({ pace, bytesOf });
    const channel = await link.connect();
    push('large enough', 'b', 'c', 'd');
    expect(channel.bodies).toEqual(['large enough']);
    channel.ack(1);
    expect(channel.bodies).toEqual(['large enough', 'b', 'c', 'd']);
    // What an earlier channel had under way does not count on the next.
    push('another large one', 'f');
    link.lose();
    const next = await link.connect();
    expect(next.bodies).toEqual(['b again', 'c again', 'd again', 'another large one again']);
    next.ack(3, true);
    expect(next.bodies).toHaveLength(4);
    maxBytes = 100;
    push('g');
    expect(next.bodies.slice(4)).toEqual(['f', 'g']);
    next.ack(6, true);
    expect(confirmed).toHaveLength(7);
    expect(published.size).toBe(0);
  });

  test('wait while amqplib says that its buffer is full', async () => {
    const { link, push } = publisher();
    const channel = await link.connect();
    channel.hasRoom = false;
    push('a', 'b', 'c');
    expect(channel.bodies).toEqual(['a']);
    channel.emit('drain');
    expect(channel.bodies).toEqual(['a', 'b']);
    channel.hasRoom = true;
    channel.emit('drain');
    expect(channel.bodies).toEqual(['a', 'b', 'c']);
  });

  test('that cannot be encoded are left out, once, and hold nobody up', async () => {
    let attempts = 0;
    const {
      link,
      push,
      confirmed,
      publisher: published,
    } = publisher({
      send: (channel, entry) => {
        if (entry === 'poison') {
          attempts++;
          throw new TypeError('cannot be encoded');
        }
        return channel.publish('', 'queue', Buffer.from(entry), {});
      },
    });
    const first = await link.connect();
    push('a');
    const next = link.nextChannel();
    push('poison', 'b');
    const second = await next;
    expect(first.bodies).toEqual(['a']);
    expect(second.bodies).toEqual(['a', 'b']);
    second.ack(2, true);
    expect(confirmed).toEqual(['a', 'b']);
    expect(published.size).toBe(0);
    expect(attempts).toBe(1);
  });

  test('wait while the broker blocks the connection', async () => {
    const { link, push, publisher: published } = publisher();
    const channel = await link.connect();
    push('a');
    link.block(true);
    push('b', 'c');
    expect(published.isUp).toBe(false);
    expect(channel.bodies).toEqual(['a']);
    link.block(false);
    expect(channel.bodies).toEqual(['a', 'b', 'c']);
  });

  test('keep their order for a queue that refuses the first one and takes later ones', async () => {
    const { link, push } = publisher({ queueOf: () => 'queue' });
    const first = await link.connect();
    push('a', 'b');
    expect(first.bodies).toEqual(['a']);
    const next = link.nextChannel();
    first.emit('nack', { deliveryTag: 1, multiple: false });
    const second = await next;
    expect(second.bodies).toEqual(['a again']);
    second.ack(1);
    push('c');
    expect(second.bodies).toEqual(['a again', 'b', 'c']);
  });

  test('open each queue of a channel with one that travels alone', async () => {
    const { link, push } = publisher({ queueOf: (entry) => entry[0]! });
    const channel = await link.connect();
    push('a1', 'b1', 'a2');
    expect(channel.bodies).toEqual(['a1']);
    channel.ack(1);
    expect(channel.bodies).toEqual(['a1', 'b1']);
    channel.ack(2);
    push('b2', 'c1', 'a3');
    expect(channel.bodies).toEqual(['a1', 'b1', 'a2', 'b2']);
    channel.ack(4);
    expect(channel.bodies).toHaveLength(4);
    channel.ack(3);
    expect(channel.bodies).toEqual(['a1', 'b1', 'a2', 'b2', 'c1']);
    channel.ack(5);
    expect(channel.bodies.at(-1)).toBe('a3');
  });

  test('that are all confirmed make it idle', async () => {
    const { link, push, publisher: published } = publisher();
    await published.idle();
    const channel = await link.connect();
    push('a', 'b');
    let idle = false;
    const waiting = published.idle().then(() => {
      idle = true;
    });
    channel.ack(2);
    await turn();
    expect(idle).toBe(false);
    channel.ack(1);
    await waiting;
  });
});

const FAULTS: [string, (channel: FakeChannel, link: FakeLink) => void][] = [
  ['the broker refuses a message', (channel) => channel.emit('nack', { deliveryTag: 2, multiple: false })],
  [
    'a message comes back',
    (channel) => {
      channel.emit('return', { fields: { routingKey: 'queue', replyText: 'NO_ROUTE' } });
      channel.ack(2);
    },
  ],
  ['the broker closes the channel', (channel) => channel.fail('404 NOT_FOUND')],
  ['the channel turns out to be closed', (channel) => (channel.closed = true)],
];

describe('all that is unconfirmed is published again, in order, marked, and before what is new, when', () => {
  test.each(FAULTS)('%s', async (_, fault) => {
    const { link, push, confirmed, publisher: published } = publisher();
    const first = await link.connect();
    push('a', 'b', 'c');
    first.ack(1);
    const next = link.nextChannel();
    fault(first, link);
    push('d');
    const second = await next;
    expect(second).not.toBe(first);
    push('e');
    expect(second.bodies).toEqual(['b again', 'c again', 'd', 'e']);
    expect(confirmed).toEqual(['a']);
    second.ack(4, true);
    expect(confirmed).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(published.size).toBe(0);
  });

  test('the channel closes while its buffer is full, and no drain comes', async () => {
    const { link, push } = publisher();
    const first = await link.connect();
    first.hasRoom = false;
    push('a', 'b');
    const next = link.nextChannel();
    first.fail('406 PRECONDITION_FAILED');
    expect((await next).bodies).toEqual(['a again', 'b']);
  });

  test('the connection is lost', async () => {
    const { link, push, confirmed } = publisher();
    const first = await link.connect();
    push('a', 'b', 'c');
    first.ack(2);
    link.lose();
    push('d');
    const second = await link.connect();
    expect(second.bodies).toEqual(['a again', 'c again', 'd']);
    second.ack(3, true);
    expect(confirmed).toEqual(['b', 'a', 'c', 'd']);
  });

  test('the connection is lost while it is blocked', async () => {
    const { link, push } = publisher();
    await link.connect();
    push('a');
    link.block(true);
    push('b');
    link.lose();
    expect((await link.connect()).bodies).toEqual(['a again', 'b']);
  });

  test('channel after channel is lost', async () => {
    const { link, push } = publisher();
    let channel = await link.connect();
    push('a', 'b');
    for (let n = 0; n < 3; n++) {
      const next = link.nextChannel();
      channel.fail('gone');
      channel = await next;
      expect(channel.bodies).toEqual(['a again', 'b again']);
    }
    push('c');
    expect(channel.bodies).toEqual(['a again', 'b again', 'c']);
  });
});

test('what an old channel still says changes nothing', async () => {
  const { link, push, confirmed } = publisher();
  const first = await link.connect();
  push('a', 'b');
  const next = link.nextChannel();
  first.emit('nack', { deliveryTag: 1, multiple: false });
  const second = await next;
  second.hasRoom = false;
  push('c', 'd');
  first.ack(2, true);
  first.emit('nack', { deliveryTag: 1, multiple: false });
  first.emit('return', { fields: {} });
  first.emit('drain');
  await turn();
  expect(confirmed).toEqual([]);
  expect(second.closed).toBe(false);
  expect(second.bodies).toEqual(['a again', 'b again', 'c']);
});

test('a channel that cannot be set up is given up, and the next one publishes', async () => {
  const failures = [new Error('406'), new Error('403')];
  const { link, push } = publisher({
    prepare: async () => {
      const failure = failures.pop();
      if (failure !== undefined) throw failure;
    },
  });
  push('a');
  let channel = await link.connect();
  for (let n = 0; n < 2; n++) {
    expect(channel.published).toEqual([]);
    channel = await link.nextChannel();
  }
  expect(channel.bodies).toEqual(['a']);
});

test('a message that comes back and is dealt with leaves the channel up', async () => {
  const { link, push, confirmed } = publisher({ returned: () => true });
  const channel = await link.connect();
  push('a');
  channel.emit('return', { fields: {} });
  channel.ack(1);
  expect(confirmed).toEqual(['a']);
  expect(channel.closed).toBe(false);
});

test('nothing is published after a stop', async () => {
  const { link, push, publisher: published } = publisher();
  const channel = await link.connect();
  await published.stop();
  push('a');
  await turn();
  expect(channel).toMatchObject({ closed: true, published: [] });
  expect(published.isUp).toBe(false);
});

type Step =
  | { do: 'push'; count: number }
  | { do: 'ack'; tag: number; multiple: boolean }
  | { do: 'fault'; which: number }
  | { do: 'lose' }
  | { do: 'block'; blocked: boolean }
  | { do: 'room'; has: boolean };

function step<S extends Step>(weight: number, name: S['do'], fields: object = {}) {
  return { weight, arbitrary: fc.record({ do: fc.constant(name), ...fields }) as fc.Arbitrary<Step> };
}

const steps = fc.array(
  fc.oneof(
    step(6, 'push', { count: fc.integer({ min: 1, max: 6 }) }),
    step(8, 'ack', { tag: fc.integer({ min: 1, max: 12 }), multiple: fc.boolean() }),
    step(2, 'fault', { which: fc.nat(FAULTS.length - 1) }),
    step(1, 'lose'),
    step(1, 'block', { blocked: fc.boolean() }),
    step(2, 'room', { has: fc.boolean() }),
  ),
  { maxLength: 40, size: 'max' },
);

test('whatever happens, every message is confirmed once, and each channel carries them in order', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      const { link, publisher: published, confirmed, push } = publisher();
      let channel = await link.connect();
      let pushed = 0;
      const sentBefore = new Set<string>();
      const recover = async (next: Promise<FakeChannel>) => {
        for (const body of channel.bodies) sentBefore.add(body.replace(' again', ''));
        channel = await next;
        if (!link.isBlocked) expect(channel.published).toHaveLength(published.size);
      };
      const expectInOrder = () => {
        const numbers = channel.bodies.map((body) => Number.parseInt(body, 10));
        expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
        for (const body of channel.bodies) {
          expect(body.endsWith('again')).toBe(sentBefore.has(body.replace(' again', '')));
        }
      };
      for (const step of steps) {
        if (step.do === 'push') for (let n = 0; n < step.count; n++) push(String(pushed++));
        else if (step.do === 'ack') channel.ack(Math.min(step.tag, channel.published.length), step.multiple);
        else if (step.do === 'block') link.block(step.blocked);
        else if (step.do === 'lose') {
          link.lose();
          await recover(link.connect());
        } else if (step.do === 'fault') {
          const next = link.nextChannel();
          FAULTS[step.which]![1](channel, link);
          // A channel that is closed unseen is noticed with the next message.
          if (channel.closed) channel.emit('close');
          await recover(next);
        } else {
          channel.hasRoom = step.has;
          if (step.has) channel.emit('drain');
        }
        expectInOrder();
      }
      link.block(false);
      channel.hasRoom = true;
      channel.emit('drain');
      expectInOrder();
      channel.ack(channel.published.length, true);
      expect(published.size).toBe(0);
      expect(confirmed.map(Number).sort((a, b) => a - b)).toEqual(
        Array.from({ length: pushed }, (_, n) => n),
      );
    }),
    { numRuns: 100 },
  );
});

describe('a channel on which nothing is confirmed any more', () => {
  const check = () => vi.advanceTimersByTime(10_000);
  const start = async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { link, push } = publisher();
    return { link, push, channel: await link.connect() };
  };
  afterEach(() => {
    vi.useRealTimers();
  });

  test('is given up, and what it carried sent again', async () => {
    const { link, push, channel } = await start();
    push('a', 'b');
    check();
    expect(channel.closed).toBe(false);
    const next = link.nextChannel();
    check();
    expect(channel.closed).toBe(true);
    expect((await next).bodies).toEqual(['a again', 'b again']);
  });

  test('is kept while it gets on, has nothing to wait for, or the broker blocks', async () => {
    const { link, push, channel } = await start();
    for (let tag = 1; tag <= 5; tag++) {
      push(`${tag}`, `${tag}, later`);
      check();
      channel.ack(2 * tag - 1, true);
      check();
      channel.ack(2 * tag);
    }
    check();
    check();
    push('kept');
    link.block(true);
    check();
    check();
    expect(channel.closed).toBe(false);
  });
});
