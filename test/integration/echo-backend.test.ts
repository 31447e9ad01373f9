import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, inject, test } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { namesEnvironment, uniqueNames } from '../helpers/names.ts';
import { Publisher } from '../helpers/publisher.ts';
import { declareQueue, deleteQueue, queueDepth } from '../helpers/queues.ts';

test('the echo backend keeps a line whose reply the broker refuses, and publishes the reply again', async () => {
  const names = uniqueNames();
  const inbox = `${names.inboxPrefix}full`;
  const full = { 'x-queue-type': 'classic', 'x-max-length': 1, 'x-overflow': 'reject-publish' };
  await declareQueue(names.fromDevice, { 'x-queue-type': 'classic' });
  await declareQueue(inbox, full);
  await using publisher = await Publisher.connect();
  publisher.publish(inbox, 'in the way', {});
  const headers = { connection_id: 'c', from_device_seq: 0 };
  publisher.publish(names.fromDevice, 'line', { headers, replyTo: inbox });
  await publisher.flushed();

  const backend = spawn(process.execPath, ['--import', 'tsx', 'src/dev/echo-backend.ts'], {
    env: { ...process.env, ...namesEnvironment(names), OWSLA_AMQP_URL: inject('amqpUrl') },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(backend, 'exit');
  try {
    await eventually('the line is taken', async () => (await queueDepth(names.fromDevice)) === 0);
    await delay(1_500); // It has been refused, more than once.
    expect(await queueDepth(inbox)).toBe(1);
    await deleteQueue(inbox);
    await declareQueue(inbox, full);
    await eventually('the reply', async () => (await queueDepth(inbox)) === 1);
  } finally {
    backend.kill('SIGTERM');
  }
  expect(await exited).toEqual([0, null]);
  // Acknowledged once the reply was confirmed.
  expect(await deleteQueue(names.fromDevice)).toBe(0);
  await deleteQueue(inbox);
});
