import { setTimeout as delay } from 'node:timers/promises';
import { type ConfirmChannel, type ConsumeMessage, connect, IllegalOperationError } from 'amqplib';

/**
 * A small backend, as somebody would write it who knows the message contract and nothing of the gateway's code: it
 * sends every line back to the device it came from.
 *
 * Environment: OWSLA_AMQP_URL (several separated by commas), OWSLA_AMQP_FROM_DEVICE, OWSLA_AMQP_TO_DEVICE.
 */
const urls = (process.env.OWSLA_AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672').split(',');
const fromDevice = process.env.OWSLA_AMQP_FROM_DEVICE ?? 'from_device';
const toDevice = process.env.OWSLA_AMQP_TO_DEVICE ?? 'to_device';

const PREFETCH = 256;
const REMEMBERED = 65_536;
const CONNECT_TIMEOUT_MS = 10_000;
const BACKOFF_MIN_MS = 200;
const BACKOFF_MAX_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;
const NACK_PAUSE_MS = 500;
const MAX_NACKS = 10;

/** Lines that were answered, oldest first, to know a copy by: `<connection_id> <from_device_seq>`. */
const answered = new Set<string>();

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());

let failures = 0;
let lastSaid = '';
while (!stopping.signal.aborted) {
  try {
    await serve(urls[failures % urls.length]!.trim());
  } catch (error) {
    sayOnce(`${(error as Error).message}; trying again`);
    const longest = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** failures++);
    // Interrupted by the signal to stop.
    await delay(Math.random() * longest, undefined, { signal: stopping.signal }).catch(() => {});
  }
}

/** Answers lines until this program is asked to stop. @throws what ended the connection before that */
async function serve(url: string): Promise<void> {
  const connection = await connect(url, { timeout: CONNECT_TIMEOUT_MS });
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {}); // It also fails, with nobody waiting, while we close the connection ourselves.
  connection.on('error', fail);
  connection.on('close', () => fail(new Error('the broker closed the connection')));
  try {
    const channel = await connection.createConfirmChannel();
    channel.on('error', fail);
    channel.on('close', () => fail(new Error('the broker closed the channel')));
    await channel.prefetch(PREFETCH);
    // The gateway owns the queue and its arguments. Where it does not exist yet, this fails, and is tried again.
    const consumer = channel.consume(fromDevice, (message) => {
      if (message === null) fail(new Error(`the queue ${fromDevice} was deleted`));
      else answer(channel, message, fail);
    });
    const { consumerTag } = await Promise.race([failed, consumer]);
    sayOnce(`answering lines from the queue ${fromDevice}`);
    failures = 0;
    await Promise.race([failed, stopRequest()]);

    await channel.cancel(consumerTag);
    await Promise.race([
      failed,
      channel.waitForConfirms(),
      delay(CLOSE_TIMEOUT_MS, undefined, { ref: false }),
    ]);
  } finally {
    const closed = connection.close().catch(() => {}); // It is gone already.
    await Promise.race([closed, delay(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
  }
}

/**
 * Publishes the reply, and acks the line once the broker has confirmed it: a crash in between repeats the reply. One
 * that the broker refuses is published again, since to have the line delivered again would count as a failed attempt
 * at it. But not for ever: a broker can go on refusing on one channel what it takes on another.
 */
function answer(
  channel: ConfirmChannel,
  line: ConsumeMessage,
  fail: (error: Error) => void,
  nacks = 0,
): void {
  const { connection_id: connectionId, from_device_seq: seq, republished } = line.properties.headers ?? {};
  if (typeof connectionId !== 'string' || typeof seq !== 'number') {
    say('a line came without connection_id and from_device_seq; rejecting it');
    channel.reject(line, false);
    return;
  }
  const name = `${connectionId} ${seq}`;
  if ((republished === true || line.fields.redelivered) && answered.has(name)) {
    channel.ack(line);
    return;
  }
  const { replyTo } = line.properties;
  channel.sendToQueue(
    typeof replyTo === 'string' && replyTo !== '' ? replyTo : toDevice,
    line.content,
    // One reply to each line: the line's own number will do as the reply's. Always as a 64-bit integer; left to
    // itself the library takes the smallest type that holds the number.
    {
      persistent: true,
      headers: { connection_id: connectionId, to_device_seq: { '!': 'int64', value: seq } },
    },
    (error) => {
      if (error) {
        if (nacks === MAX_NACKS) fail(new Error('the broker goes on refusing replies'));
        else setTimeout(() => answerAgain(channel, line, fail, nacks + 1), NACK_PAUSE_MS).unref();
        return;
      }
      remember(name);
      channel.ack(line);
    },
  );
}

/** On a channel that is closed there is nothing to do: the broker will deliver the line again. */
function answerAgain(...again: Parameters<typeof answer>): void {
  try {
    answer(...again);
  } catch (error) {
    if (!(error instanceof IllegalOperationError)) throw error;
  }
}

function remember(name: string): void {
  answered.add(name);
  if (answered.size <= REMEMBERED) return;
  for (const oldest of answered) {
    answered.delete(oldest);
    return;
  }
}

function stopRequest(): Promise<void> {
  return new Promise((resolve) => {
    if (stopping.signal.aborted) resolve();
    else stopping.signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Says nothing when it would repeat itself, as while the broker is away. */
function sayOnce(line: string): void {
  if (line !== lastSaid) say(line);
  lastSaid = line;
}

function say(line: string): void {
  process.stdout.write(`echo backend: ${line}\n`);
}
