import type { Message, MessagePropertyHeaders, Options } from 'amqplib';

/** The headers of the wire contract, read and written. Pure. */

export interface ReplyHeaders {
  readonly connectionId: string;
  readonly toDeviceSeq: number | undefined;
  readonly expiresAtMs: number | undefined;
  /** The backend wants to be told what became of the reply. */
  readonly receipt: boolean;
}

/** Either what the headers say, or what is wrong with them and what was expected. */
export type ParsedReply = { ok: true; headers: ReplyHeaders } | { ok: false; problem: string };

export function parseReplyHeaders(headers: MessagePropertyHeaders | undefined): ParsedReply {
  const connectionId = headers?.connection_id;
  if (connectionId === undefined) {
    if (headers?.[HEADERS_DROPPED] === true)
      return wrong('headers were dropped: too large, or nested too deep');
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
  const receipt = headers?.receipt ?? false;
  if (typeof receipt !== 'boolean') return wrong(`receipt must be a boolean, not ${show(receipt)}`);
  return {
    ok: true,
    headers: { connectionId: connectionId.toLowerCase(), toDeviceSeq, expiresAtMs, receipt },
  };
}

function wrong(problem: string): ParsedReply {
  return { ok: false, problem };
}

function isAbsentOrCount(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0);
}

const SHOWN_CHARACTERS = 40;

/** Of what is made of other values only what it is: it may be too deep to be walked through. */
function show(value: unknown): string {
  if (typeof value === 'string') {
    const isLong = value.length > SHOWN_CHARACTERS;
    return JSON.stringify(isLong ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value);
  }
  if (typeof value !== 'object' || value === null) return String(value);
  if (Buffer.isBuffer(value)) return 'bytes';
  if (Array.isArray(value)) return 'an array';
  const { '!': type } = value as { '!'?: unknown };
  return type === 'timestamp' || type === 'decimal' ? `a ${type}` : 'a table';
}

/**
 * A 64-bit integer header whatever its size: left to itself the client picks the smallest type that fits, so
 * that a sequence number would change its type as it grows.
 */
export function int64(value: number): { '!': 'int64'; value: number } {
  return { '!': 'int64', value };
}

/**
 * Headers that were received, in a form that can be sent again. Whatever a stranger has put into them, the client
 * must be able to encode it: a message that cannot be sent would be tried for ever and hold up those behind it.
 * Where all headers together are too large, those of the contract are kept.
 */
export function resendableHeaders(headers: MessagePropertyHeaders | undefined): Record<string, unknown> {
  const copy = resendableTable(headers ?? {}, 0);
  for (const name of LEFT_OUT) delete copy[name];
  if (fits(copy)) return copy;
  const contract = Object.fromEntries(
    CONTRACT.filter((name) => name in copy).map((name) => [name, copy[name]]),
  );
  return { ...(fits(contract) ? contract : {}), [HEADERS_DROPPED]: true };
}

/** Stands for headers that could not be read, or not be sent again. */
export const HEADERS_DROPPED = 'headers_dropped';

/** The `type` of a readiness probe. */
export const PROBE_TYPE = 'owsla.probe';

/** Tells a forward that came back apart from others; says nothing to anyone else. */
export const FORWARD_ID_HEADER = 'owsla_forward';

/** RabbitMQ routes a message to what CC and BCC name as well: sending them again would deliver again. */
const LEFT_OUT = ['CC', 'BCC', FORWARD_ID_HEADER];

const CONTRACT = ['connection_id', 'device_id', 'to_device_seq', 'expires_at', 'receipt'];

/**
 * The client encodes a message's headers in a buffer of 65,536 bytes and fails beyond that. AMQP's encoding is at
 * most 5/3 as long as JSON's (for an array of empty strings), which leaves room for headers of our own.
 */
const MAX_HEADER_JSON_BYTES = 32_768;

function fits(headers: Record<string, unknown>): boolean {
  return Buffer.byteLength(JSON.stringify(headers)) <= MAX_HEADER_JSON_BYTES;
}

/** Tables in tables further down are left out; the client's recursion overflows the stack at some thousands. */
const MAX_DEPTH = 64;
/** Of names and of properties: AMQP's short strings. */
const MAX_SHORT_STRING_BYTES = 255;

function resendable(value: unknown, depth: number): unknown {
  // The client takes some fractions, NaN and what it rounded past 2^63 for 64-bit integers, and then refuses them.
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : { '!': 'double', value };
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value;
  if (depth === MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((inner) => resendable(inner, depth + 1));
  const table = value as Record<string, unknown>;
  if (table['!'] === 'timestamp' && typeof table.value === 'number')
    return isUnsigned(table.value, Number.MAX_SAFE_INTEGER) ? table : resendable(table.value, depth);
  return table['!'] === 'decimal' && isDecimal(table.value) ? table : resendableTable(table, depth);
}

/** Without the key `!`, which the client takes for the name of a type, and without names it could not write. */
function resendableTable(table: object, depth: number): Record<string, unknown> {
  const entries = Object.entries(table).filter(([name]) => name !== '!' && isShortString(name));
  return Object.fromEntries(entries.map(([name, inner]) => [name, resendable(inner, depth + 1)]));
}

function isDecimal(value: unknown): boolean {
  const { places, digits } = (value ?? {}) as { places?: unknown; digits?: unknown };
  return isUnsigned(places, 0xff) && isUnsigned(digits, 0xffff_ffff);
}

function isUnsigned(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

/** Bytes that are no UTF-8 grow when they are read as text. */
function isShortString(text: string): boolean {
  return Buffer.byteLength(text) <= MAX_SHORT_STRING_BYTES;
}

/**
 * Properties that were received, for sending the message on. Not among them: `expiration`, or the copy would
 * vanish where it is to be kept, `userId`, which the broker accepts from its owner alone, and what the client
 * could not encode.
 */
export function resendableProperties({ properties }: Message): Options.Publish {
  const { timestamp } = properties;
  return {
    contentType: shortString(properties.contentType),
    contentEncoding: shortString(properties.contentEncoding),
    priority: properties.priority,
    correlationId: shortString(properties.correlationId),
    replyTo: shortString(properties.replyTo),
    messageId: shortString(properties.messageId),
    timestamp: isUnsigned(timestamp, Number.MAX_SAFE_INTEGER) ? timestamp : undefined,
    type: shortString(properties.type),
    appId: shortString(properties.appId),
    persistent: true,
    mandatory: true,
  };
}

function shortString(text: string | undefined): string | undefined {
  return text === undefined || isShortString(text) ? text : undefined;
}
