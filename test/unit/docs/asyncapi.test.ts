import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv, type AnySchema, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseReplyHeaders } from '../../../src/broker/envelope.ts';
import { defaultConfig } from '../../../src/config/schema.ts';
import type { Endpoint } from '../../../src/endpoint/endpoint.ts';
import type { CloseReason } from '../../../src/endpoint/lifecycle.ts';
import { LifecycleEvents } from '../../../src/observability/lifecycle-events.ts';
import type { UndeliveredReason } from '../../../src/reply.ts';

interface Ref {
  $ref: string;
}

interface Message {
  name: string;
  headers?: Ref;
  payload: Ref;
  examples: { name?: string; headers?: unknown; payload?: unknown }[];
}

interface Contract {
  channels: Record<
    string,
    {
      address: string;
      parameters?: Record<string, { enum?: string[] }>;
      messages: Record<string, Ref>;
      bindings: { amqp: { queue?: { name: string }; exchange?: { name: string } } };
    }
  >;
  operations: Record<string, { channel: Ref; messages: Ref[] }>;
  components: { messages: Record<string, Message>; schemas: Record<string, { enum?: string[] }> };
}

const contract: Contract = parse(
  readFileSync(new URL('../../../docs/asyncapi.yaml', import.meta.url), 'utf8'),
);
const NODE_ID = '4b7d21c0a95e';
const CONNECTION_ID = `1f0c6d2e-8b1a-6c40-9f3e-${NODE_ID}`;

const { channels, operations } = contract;
const { messages, schemas } = contract.components;

describe('the published contract', () => {
  test('is an AsyncAPI 3.0 document', () => {
    const specification = createRequire(import.meta.url).resolve(
      '@asyncapi/specs/schemas/3.0.0-without-$id.json',
    );
    const validate = newAjv().compile(JSON.parse(readFileSync(specification, 'utf8')));
    expectValid(validate, contract);
  });

  test('has no reference that leads nowhere', () => {
    const missing = referencesIn(contract).filter((pointer) => resolve(pointer) === undefined);
    expect(missing).toEqual([]);
  });

  test('has no component that nothing refers to', () => {
    const used = new Set(referencesIn(contract));
    const unused = Object.entries(contract.components).flatMap(([kind, components]) =>
      Object.keys(components)
        .map((name) => `#/components/${kind}/${name}`)
        .filter((pointer) => !used.has(pointer)),
    );
    expect(unused).toEqual([]);
  });

  test.each(Object.entries(operations))('%s uses messages of its own channel', (_, { channel, messages }) => {
    for (const { $ref } of messages) expect($ref).toContain(`${channel.$ref}/messages/`);
  });

  test('names queues and exchange as the configuration does by default', () => {
    const { fromDevice, toDevice, undelivered, deadLetter, events, inboxPrefix } = defaultConfig().amqp;
    const named = Object.values(channels).map(
      ({ bindings: { amqp } }) => (amqp.queue ?? amqp.exchange)!.name,
    );
    expect(named).toEqual([fromDevice, toDevice, `${inboxPrefix}{nodeId}`, undelivered, deadLetter, events]);
    for (const { address, bindings } of Object.values(channels)) {
      if (bindings.amqp.queue !== undefined) expect(address).toBe(bindings.amqp.queue.name);
    }
  });

  test('knows the reasons that the gateway gives, and no others', () => {
    expect(sorted(schemas.closeReason!.enum!)).toEqual(sorted(Object.keys(CLOSE_REASONS)));
    expect(sorted(schemas.undeliveredReason!.enum!)).toEqual(sorted(Object.keys(UNDELIVERED_REASONS)));
  });

  test('names each event as the gateway does, in the routing key too', () => {
    const names = channels.events!.parameters!.event!.enum!;
    const described = Object.values(channels.events!.messages).map(({ $ref }) => resolve($ref).name);
    expect(sorted(described)).toEqual(sorted(names));
  });
});

describe('an example of', () => {
  const examples = Object.entries(messages).flatMap(([message, { headers, payload, examples }]) =>
    examples.map(
      (example, index) => [`${message} ${example.name ?? index}`, headers, payload, example] as const,
    ),
  );

  test.each(examples)('%s fits its schemas', (_, headers, payload, example) => {
    if (headers !== undefined) expectValid(validatorOf(headers), example.headers);
    expectValid(validatorOf(payload), example.payload);
  });

  test.each(messages.reply!.examples)('a reply ($name) is one that the gateway takes', ({ headers }) => {
    expect(parseReplyHeaders(headers as Record<string, unknown>)).toMatchObject({ ok: true });
  });
});

describe('an event of the gateway fits its schema:', () => {
  const events = new LifecycleEvents(NODE_ID);
  const failed = { connectionId: CONNECTION_ID, remoteAddress: '192.0.2.7', remotePort: 50_123 };
  const tooLarge = { reason: 'frame_too_large', detail: 'too large', limit: 65_536, value: 65_537 } as const;
  const tls = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: true };

  test.each([
    ['connectionOpened', events.opened(endpoint('meter-0815'), tls)],
    ['connectionOpened', events.opened(endpoint(undefined), tls)],
    ['connectionClosed', events.closed(endpoint('meter-0815'), tooLarge, 1_234.5)],
    ['connectionClosed', events.attemptFailed(failed, { reason: 'handshake_timeout' }, 10_000)],
    ['replyGap', events.gap(endpoint('meter-0815'), { fromSeq: 3, toSeq: 4 }, 20_000.4)],
    ['nodeUp', events.node('node.up')],
    ['nodeDown', events.node('node.down')],
  ])('%s', (schema, event) => {
    expectValid(validatorOf({ $ref: `#/components/schemas/${schema}` }), event);
  });
});

/** A reason that the code gains and this table lacks is a type error. */
const CLOSE_REASONS: Record<CloseReason, true> = {
  peer_closed: true,
  peer_reset: true,
  socket_error: true,
  incomplete_frame: true,
  frame_too_large: true,
  idle_timeout: true,
  first_frame_timeout: true,
  handshake_timeout: true,
  tls_error: true,
  client_certificate: true,
  max_age: true,
  slow_consumer: true,
  reply_gap: true,
  shutdown: true,
};

const UNDELIVERED_REASONS: Record<UndeliveredReason, true> = {
  not_connected: true,
  expired: true,
  stale_sequence: true,
  reorder_overflow: true,
  slow_consumer: true,
  bad_headers: true,
  bad_body: true,
  connection_closed: true,
};

/** As much of an endpoint as events tell of. */
function endpoint(deviceId: string | undefined): Endpoint {
  return {
    connectionId: CONNECTION_ID,
    peer: { remoteAddress: '2001:db8::7', remotePort: 50_123, deviceId },
    framesReceived: 2,
    bytesReceived: 20,
    framesSent: 0,
    bytesSent: 0,
    lastToDeviceSeq: -1,
  } as Endpoint;
}

function newAjv(): Ajv {
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  return ajv;
}

/** Compiles one schema of the contract, with all the schemas that it refers to. */
function validatorOf({ $ref }: Ref): ValidateFunction {
  return newAjv()
    .addSchema({ components: contract.components } as AnySchema, 'contract')
    .compile({ $ref: `contract${$ref}` });
}

function expectValid(validate: ValidateFunction, value: unknown): void {
  validate(value);
  expect(validate.errors ?? []).toEqual([]);
}

function referencesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' ? [inner as string] : referencesIn(inner),
  );
}

/** The value at a JSON pointer of the contract; `undefined` when there is none. */
// biome-ignore lint/suspicious/noExplicitAny: it may be any part of the document.
function resolve(pointer: string): any {
  let value: unknown = contract;
  for (const part of pointer.replace(/^#\//, '').split('/')) {
    value = (value as Record<string, unknown> | undefined)?.[part];
  }
  return value;
}

function sorted(names: readonly string[]): string[] {
  return [...names].sort();
}
