import type { Message, MessagePropertyHeaders, Options } from 'amqplib';

/** The headers of the wire contract, read and written. Pure. */

export interface ReplyHeaders {
  readonly connectionId: string;
  readonly toDeviceSeq: number | undefined;
  readonly expiresAtMs: number | undefined;
}

/** Either what the headers say, or what is wrong with them and what was expected. */
export type ParsedReply = { ok: true; headers: ReplyHeaders } | { ok: false; problem: string };

export function parseReplyHeaders(headers: MessagePropertyHeaders | undefined): ParsedReply {
  const connectionId = headers?.connection_id;
  if (connectionId === undefined) {
    const addressed = headers?.device_id !== undefined;
    return wrong(
      addressed
        ? 'connection_id is absent; replies to a device_id are not supported'
        : 'connection_id is absent',
    );
  }
  if (typeof connectionId !== 'string') return wrong('connection_id must be a long string (a UUID)');
  const toDeviceSeq = headers?.to_device_seq ?? undefined;
  if (!isAbsentOrCount(toDeviceSeq))
    return wrong(`to_device_seq must be an integer from 0 to 2^53-1, not ${show(toDeviceSeq)}`);
  const expiresAtMs = headers?.expires_at ?? undefined;
  if (!isAbsentOrCount(expiresAtMs))
    return wrong(`expires_at must be an integer of ms since the epoch, not ${show(expiresAtMs)}`);
  return { ok: true, headers: { connectionId: connectionId.toLowerCase(), toDeviceSeq, expiresAtMs } };
}

function wrong(problem: string): ParsedReply {
  return { ok: false, problem };
}

function isAbsentOrCount(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0);
}

const SHOWN_CHARACTERS = 40;

function show(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/**
 * A 64-bit integer header whatever its size: left to itself the client picks the smallest type that fits, so
 * that a sequence number would change its type as it grows.
 */
export function int64(value: number): { '!': 'int64'; value: number } {
  return { '!': 'int64', value };
}

/**
 * Headers that were received, in a form that can be sent again: the client reads 64-bit integers as doubles and
 * then refuses those it rounded up past their range. What is too large to fit beside our own headers is left out.
 */
export function resendableHeaders(headers: MessagePropertyHeaders | undefined): Record<string, unknown> {
  const copy = resendable(headers ?? {}) as Record<string, unknown>;
  for (const name of LEFT_OUT) delete copy[name];
  return JSON.stringify(copy).length > MAX_HEADER_CHARACTERS ? { headers_dropped: true } : copy;
}

/** Tells a forward that came back apart from others; says nothing to anyone else. */
export const FORWARD_ID_HEADER = 'owsla_forward';

/** RabbitMQ routes a message to what CC and BCC name as well: sending them again would deliver again. */
const LEFT_OUT = ['CC', 'BCC', FORWARD_ID_HEADER];

/** Half of the smallest frame size that brokers are run with; headers cannot be split over frames. */
const MAX_HEADER_CHARACTERS = 65_536;

function resendable(value: unknown): unknown {
  if (typeof value === 'number')
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? { '!': 'double', value } : value;
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value;
  if (Array.isArray(value)) return value.map(resendable);
  if ('!' in value) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resendable(inner)]));
}

/**
 * Properties that were received, for sending the message on. Not among them: `expiration`, or the copy would
 * vanish where it is to be kept, and `userId`, which the broker accepts from its owner alone.
 */
export function resendableProperties({ properties }: Message): Options.Publish {
  const {
    contentType,
    contentEncoding,
    priority,
    correlationId,
    replyTo,
    messageId,
    timestamp,
    type,
    appId,
  } = properties;
  return {
    contentType,
    contentEncoding,
    priority,
    correlationId,
    replyTo,
    messageId,
    timestamp,
    type,
    appId,
    persistent: true,
    mandatory: true,
  };
}
