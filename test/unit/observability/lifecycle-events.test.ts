import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Endpoint } from '../../../src/endpoint/endpoint.ts';
import type { Ending } from '../../../src/endpoint/lifecycle.ts';
import { LifecycleEvents } from '../../../src/observability/lifecycle-events.ts';

interface Schema {
  $ref?: string;
  allOf?: Schema[];
  required?: string[];
  properties?: Record<string, unknown>;
}

const { schemas } = parse(readFileSync(new URL('../../../docs/asyncapi.yaml', import.meta.url), 'utf8'))
  .components as { schemas: Record<string, Schema> };

/** The names of all fields that a schema of the contract has, and of those that it requires. */
function fieldsOf(schema: Schema): { known: string[]; required: string[] } {
  const parts = (schema.allOf ?? []).map(fieldsOf);
  if (schema.$ref !== undefined) parts.push(fieldsOf(schemas[schema.$ref.split('/').at(-1)!]!));
  return {
    known: [...Object.keys(schema.properties ?? {}), ...parts.flatMap(({ known }) => known)],
    required: [...(schema.required ?? []), ...parts.flatMap(({ required }) => required)],
  };
}

const at = new Date('2030-01-01T00:00:00.123Z');
const events = new LifecycleEvents('4b7d21c0a95e', () => at);
const ending: Ending = { reason: 'frame_too_large', detail: 'too large', limit: 65_536, value: 65_537 };
const tls = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: false };
const attempt = { connectionId: 'some-connection', remoteAddress: '192.0.2.7', remotePort: 50_123 };

/** As much of an endpoint as events tell of. */
function endpoint(
  deviceId: string | undefined,
  last: { fromDeviceSeq: number; toDeviceSeq: number },
): Endpoint {
  return {
    connectionId: 'some-connection',
    peer: { remoteAddress: '192.0.2.7', remotePort: 50_123, deviceId },
    framesReceived: last.fromDeviceSeq + 1,
    bytesReceived: 20,
    framesSent: 1,
    bytesSent: 3,
    lastToDeviceSeq: last.toDeviceSeq,
  } as Endpoint;
}

const busy = endpoint('meter-1', { fromDeviceSeq: 4, toDeviceSeq: 0 });
const silent = endpoint(undefined, { fromDeviceSeq: -1, toDeviceSeq: -1 });

test.each([
  ['connectionOpened', events.opened(busy, tls)],
  ['connectionOpened', events.opened(silent, tls)],
  ['connectionClosed', events.closed(busy, ending, 1_234.5)],
  ['connectionClosed', events.closed(silent, { reason: 'peer_closed' }, 0)],
  ['connectionClosed', events.attemptFailed(attempt, ending, 10_000)],
  ['replyGap', events.gap(busy, { fromSeq: 3, toSeq: 4 }, 20_000.4)],
  ['nodeUp', events.node('node.up')],
  ['nodeDown', events.node('node.down')],
])('%s has the fields that the contract requires, and none that it does not know', (name, event) => {
  const { known, required } = fieldsOf(schemas[name]!);
  expect(Object.keys(event).filter((field) => !known.includes(field))).toEqual([]);
  expect(required.filter((field) => !(field in event))).toEqual([]);
});

test('an event says what happened, when and where', () => {
  expect(events.node('node.up')).toEqual({
    event: 'node.up',
    at: '2030-01-01T00:00:00.123Z',
    node_id: '4b7d21c0a95e',
  });
});

test('the close of a connection says why, and how far it came', () => {
  expect(events.closed(busy, ending, 1_234.5)).toMatchObject({
    event: 'connection.closed',
    connection_id: 'some-connection',
    device_id: 'meter-1',
    ...ending,
    established: true,
    duration_ms: 1_235,
    frames_received: 5,
    last_from_device_seq: 4,
    last_to_device_seq: 0,
  });
});

test('a connection without frames, replies or identity has no last numbers and no device', () => {
  const event = events.closed(silent, { reason: 'peer_closed' }, 0);
  expect(event).toMatchObject({ frames_received: 0, last_from_device_seq: null, last_to_device_seq: null });
  for (const field of ['device_id', 'detail', 'limit', 'value']) expect(event).not.toHaveProperty(field);
});

test('a handshake that failed is the close of a connection that was never established', () => {
  expect(events.attemptFailed(attempt, { reason: 'tls_error' }, 12)).toMatchObject({
    event: 'connection.closed',
    reason: 'tls_error',
    established: false,
    duration_ms: 12,
    remote_address: '192.0.2.7',
    remote_port: 50_123,
  });
});
