import { setTimeout as delay } from 'node:timers/promises';
import { expect, inject, it } from 'vitest';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { AmqpTap } from '../helpers/amqp-tap.ts';
import { Backend } from '../helpers/backend.ts';
import { Device } from '../helpers/device.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { Fleet } from '../helpers/fleet.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';
import { LineStream } from '../helpers/line-stream.ts';
import { metadataWritten } from '../helpers/queues.ts';

const LINE_EVERY_MS = 250;
const acknowledging = { OWSLA_ACK_ENABLED: 'true', OWSLA_ACK_TEMPLATE: 'ok {seq}' };

/** The numbers that a device was told, as they came. */
const toldTo = ({ text }: Device) => text.map((line) => Number(/^ok (\d+)$/.exec(line)?.[1]));

it('tells a device of no frame that the broker has not confirmed, though it has stored it', async () => {
  await using tap = await AmqpTap.start(inject('amqpUrl'));
  await using gateway = await GatewayProcess.start({
    amqpUrl: tap.url,
    env: { ...acknowledging, OWSLA_ACK_EVERY: '1', OWSLA_ACK_INTERVAL_MS: '20ms' },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('line 0');
  await eventually('the first is acknowledged', () => device.text.includes('ok 0'));

  tap.hold(' publish');
  for (let n = 1; n < 10; n++) await device.send(`line ${n}`);
  await eventually('all lines are in the queue', () => backend.lines.length === 10);
  await delay(500); // Many times the interval.
  expect(await gateway.metric('owsla_unconfirmed_frames')).toBe(9);
  expect(toldTo(device)).toEqual([0]);
  tap.release(' publish');
  await eventually('the last is acknowledged', () => device.text.includes('ok 9'));
});

it('tells of no fewer frames than a batch has, while the interval lasts', async () => {
  const [COUNT, EVERY] = [100, 7];
  await using gateway = await GatewayProcess.start({
    env: { ...acknowledging, OWSLA_ACK_EVERY: String(EVERY), OWSLA_ACK_INTERVAL_MS: '1h' },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  for (let n = 0; n < COUNT; n++) await device.send(`line ${n}`);
  const told = () => toldTo(device);
  await eventually('fewer than a batch are left', () => COUNT - 1 - (told().at(-1) ?? -1) < EVERY);
  for (const [at, upTo] of told().entries())
    expect(upTo - (told()[at - 1] ?? -1)).toBeGreaterThanOrEqual(EVERY);
});

it('tells a device of every confirmed frame in the end, and of none twice', async () => {
  await using gateway = await GatewayProcess.start({ env: { ...acknowledging, OWSLA_ACK_EVERY: '7' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  const count = 100;
  for (let n = 0; n < count; n++) await device.send(`line ${n}`);
  await eventually('the last frame is acknowledged', () => device.text.includes(`ok ${count - 1}`));
  const told = toldTo(device);
  expect(told).toEqual([...told].sort((a, b) => a - b));
  expect(new Set(told).size).toBe(told.length);
  await eventually('all lines are in the queue', () => backend.lines.length === count);
});

it('tells of fewer than a batch when the interval has passed', async () => {
  await using gateway = await GatewayProcess.start({
    env: { ...acknowledging, OWSLA_ACK_EVERY: '1000', OWSLA_ACK_INTERVAL_MS: '200ms' },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  for (let n = 0; n < 3; n++) await device.send(`line ${n}`);
  await eventually('the last is acknowledged', () => toldTo(device).at(-1) === 2);
});

it('what a device was told of survives the worker that told it', async () => {
  const DEVICES = 200;
  await using gateway = await GatewayProcess.start({
    workers: 2,
    env: { ...acknowledging, OWSLA_ACK_EVERY: '4', OWSLA_ACK_INTERVAL_MS: '50ms' },
  });
  await using backend = await Backend.connect(gateway.names);
  const taken = new Set<string>();
  await backend.consume(({ content }) => taken.add(String(content)));
  using fleet = await Fleet.connect(gateway.port, DEVICES);
  const streams = fleet.devices.map((device, n) => new LineStream(device, `d${n}`, { paceMs: 100 }));
  await eventually('every device was told', () => fleet.devices.every(({ text }) => text.length >= 3));
  for (const pid of (await gateway.workers()).values()) process.kill(pid, 'SIGKILL');
  await Promise.all(fleet.devices.map(({ closed }) => within('close', closed)));
  await Promise.all(streams.map((stream) => stream.stop()));
  const promised = streams.flatMap((stream) =>
    Array.from({ length: toldTo(stream.device).at(-1)! + 1 }, (_, n) => stream.line(n)),
  );
  await eventually('all that was told of', () => promised.every((line) => taken.has(line)));
});

it('devices that keep their lines until they are acknowledged lose none, whatever is killed', async () => {
  const DEVICES = 200;
  await using broker = await PrivateBroker.start();
  await using gateway = await GatewayProcess.start({
    amqpUrl: broker.url,
    workers: 2,
    env: {
      ...acknowledging,
      OWSLA_ACK_EVERY: '4',
      OWSLA_ACK_INTERVAL_MS: '50ms',
      OWSLA_AMQP_QUEUE_TYPE: 'quorum',
      OWSLA_AMQP_RECONNECT_MAX_MS: '500ms',
    },
  });
  const killWorkers = async () => {
    for (const pid of (await gateway.workers()).values()) process.kill(pid, 'SIGKILL');
  };
  const devices = Array.from({ length: DEVICES }, (_, n) => new KeepingDevice(`d${n}`, gateway.port));
  const sum = (count: (device: KeepingDevice) => number) =>
    devices.reduce((all, each) => all + count(each), 0);
  const goesOn = async () => {
    const before = sum(({ told }) => told);
    await eventually('lines are acknowledged', () => sum(({ told }) => told) > before + 4 * DEVICES, 60_000);
  };
  try {
    await goesOn();
    await metadataWritten();
    await broker.kill();
    const read = await gateway.metric('owsla_frames_received_total');
    await eventually(
      'lines are read that the broker cannot confirm',
      async () => (await gateway.metric('owsla_frames_received_total')) > read + DEVICES,
    );
    await killWorkers();
    await eventually('all have lost their connection', () => devices.every(({ losses }) => losses > 0));
    await broker.start();
    await goesOn();
    await killWorkers();
    await goesOn();
    for (const device of devices) device.stop();
    await eventually('nothing is kept any more', () => devices.every(({ kept }) => kept === 0), 60_000);
  } finally {
    for (const device of devices) device[Symbol.dispose]();
  }
  expect(sum(({ resent }) => resent)).toBeGreaterThan(DEVICES);
  await using backend = await Backend.connect(gateway.names, broker.url);
  const taken = new Set<string>();
  await backend.consume(({ content }) => taken.add(String(content)));
  const made = devices.flatMap((device) => device.made);
  await eventually('every line that was made', () => made.every((line) => taken.has(line)));
});

it('does not tear replies apart, and replies keep their order', async () => {
  await using gateway = await GatewayProcess.start({ env: { ...acknowledging, OWSLA_ACK_EVERY: '1' } });
  await using backend = await Backend.connect(gateway.names);
  await backend.echo();
  using device = await Device.connect(gateway.port);

  const lines = Array.from({ length: 200 }, (_, i) => `${i} ${'x'.repeat(i * 40)}`);
  for (const line of lines) await device.send(line);
  const replies = () => device.text.filter((line) => !line.startsWith('ok '));
  await eventually('all replies', () => replies().length === lines.length && device.text.includes('ok 199'));
  expect(replies()).toEqual(lines);
});

it('acknowledges what it has taken before it closes the connection of a device at shutdown', async () => {
  await using gateway = await GatewayProcess.start({
    env: { ...acknowledging, OWSLA_ACK_EVERY: '1000', OWSLA_ACK_INTERVAL_MS: '1h' },
  });
  await using backend = await Backend.connect(gateway.names);
  await backend.collect();
  using device = await Device.connect(gateway.port);
  await device.send('one');
  await device.send('two');
  await backend.connectionOf('two');
  expect(await gateway.stop()).toBe(0);
  await device.closed;
  expect(device.text).toEqual(['ok 1']);
});

/** Makes a line now and then, keeps each until it is told of, and sends those that it keeps again when it is back. */
class KeepingDevice {
  readonly made: string[] = [];
  told = 0;
  losses = 0;
  resent = 0;
  readonly #name: string;
  readonly #port: number;
  readonly #timer = setInterval(() => this.#make(), LINE_EVERY_MS);
  #device: Device | undefined;
  #disposed = false;

  constructor(name: string, port: number) {
    this.#name = name;
    this.#port = port;
    void this.#run();
  }

  /** Lines that it was not told of. */
  get kept(): number {
    return this.made.length - this.told;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #make(): void {
    const line = `${this.#name} ${this.made.length}`;
    this.made.push(line);
    this.#device?.socket.write(`${line}\n`);
  }

  async #run(): Promise<void> {
    while (!this.#disposed) {
      const device = await Device.connect(this.#port).catch(() => undefined);
      if (device === undefined) {
        // A worker may be starting.
        await delay(200 + 200 * Math.random());
        continue;
      }
      this.#adopt(device);
      await device.closed;
      this.#device = undefined;
      if (!this.#disposed) this.losses++;
    }
  }

  #adopt(device: Device): void {
    if (this.#disposed) {
      device[Symbol.dispose]();
      return;
    }
    const first = this.told;
    device.onLine = (line) => {
      this.told = first + Number(/^ok (\d+)$/.exec(String(line))![1]) + 1;
    };
    this.#device = device;
    const again = this.made.slice(first);
    if (this.losses > 0) this.resent += again.length;
    device.socket.write(again.map((line) => `${line}\n`).join(''));
  }

  [Symbol.dispose](): void {
    this.stop();
    this.#disposed = true;
    this.#device?.[Symbol.dispose]();
  }
}
