import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';
import { processesLeft, processesMentioning } from '../helpers/processes.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'owsla-broker-test-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('a private broker', () => {
  test('keeps a durable message through a restart and a kill, and leaves no process', async () => {
    const broker = await PrivateBroker.start({ dir, conf: { consumer_timeout: '60000' } });
    const marks = [dir, `-port ${broker.epmd!.port} `];
    expect(processesMentioning(...marks).length).toBeGreaterThan(1);
    expect(await broker.ctl('eval', 'application:get_env(rabbit, consumer_timeout).')).toContain('60000');

    await publishDurable(broker.url, 'kept', 'first');
    await broker.restart();
    expect(await takeOne(broker.url, 'kept')).toBe('first');

    await publishDurable(broker.url, 'kept', 'second');
    const { pid } = broker;
    await broker.kill();
    expect(broker.running).toBe(false);
    await broker.start();
    expect(broker.pid).not.toBe(pid);
    expect(await takeOne(broker.url, 'kept')).toBe('second');

    await broker.stop();
    expect(await processesLeft(marks)).toEqual([]);
  });

  test('ends with its parent, kill -9 included', async () => {
    const parent = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', PARENT, join(dir, 'orphan')],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const [line] = await once(createInterface(parent.stdout!), 'line');
    const marks = [join(dir, 'orphan'), `-port ${line} `];
    expect(processesMentioning(...marks).length).toBeGreaterThan(1);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    expect(await processesLeft(marks)).toEqual([]);
  });

  test('says why it does not start, and leaves no process', async () => {
    const failing = PrivateBroker.start({ dir: join(dir, 'broken'), conf: { 'no.such.setting': '1' } });
    await expect(failing).rejects.toThrow(/ended before it took connections.*no\.such\.setting/s);
    expect(await processesLeft([join(dir, 'broken')])).toEqual([]);
  });

  test('says that the port asked for is taken', async () => {
    const amqpPort = await freePort();
    const server = createServer().listen(amqpPort, '127.0.0.1');
    await once(server, 'listening');
    await expect(PrivateBroker.start({ amqpPort })).rejects.toThrow(`port ${amqpPort} of 127.0.0.1`);
    server.close();
  });
});

const PARENT = `
  import { PrivateBroker } from './src/dev/private-broker.ts';
  const broker = await PrivateBroker.start({ dir: process.argv[1] });
  console.log(broker.epmd.port);
  setInterval(() => {}, 1000);
`;

async function publishDurable(url: string, queue: string, text: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  channel.sendToQueue(queue, Buffer.from(text), { persistent: true });
  await channel.waitForConfirms();
  await connection.close();
}

/** Takes by a consumer: a quorum queue that has just come back may answer a `get` with nothing. */
async function takeOne(url: string, queue: string): Promise<string> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const text = await new Promise<string>((resolve, reject) => {
    channel
      .consume(queue, (message) => {
        if (message === null) return reject(new Error('consumer cancelled'));
        channel.ack(message);
        resolve(message.content.toString());
      })
      .catch(reject);
  });
  await channel.close();
  await connection.close();
  return text;
}
