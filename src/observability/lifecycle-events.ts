import type { Delivery } from '../broker/delivery.ts';
import type { GatewayEvent } from '../broker/event-publisher.ts';
import type { Endpoint } from '../endpoint/endpoint.ts';
import type { Ending } from '../endpoint/lifecycle.ts';
import type { Gap } from '../endpoint/resequencer.ts';
import type { NodeId } from '../registry/connection-id.ts';
import type { ReplyOutcome } from '../reply.ts';

/** Builds the events of the wire contract. Pure but for the wall clock it is given. */
export class LifecycleEvents {
  readonly #nodeId: NodeId;
  readonly #wallClock: () => Date;

  constructor(nodeId: NodeId, wallClock: () => Date = () => new Date()) {
    this.#nodeId = nodeId;
    this.#wallClock = wallClock;
  }

  node(event: 'node.up' | 'node.down'): GatewayEvent {
    return this.#stamp(event, {});
  }

  opened(
    endpoint: Endpoint,
    tls: { protocol: string | null; cipher: string; resumed: boolean },
  ): GatewayEvent {
    return this.#stamp('connection.opened', { ...identity(endpoint), ...address(endpoint.peer), tls });
  }

  closed(endpoint: Endpoint, ending: Ending, durationMs: number): GatewayEvent {
    return this.#stamp('connection.closed', {
      ...identity(endpoint),
      ...address(endpoint.peer),
      ...ending,
      established: true,
      duration_ms: Math.round(durationMs),
      frames_received: endpoint.framesReceived,
      bytes_received: endpoint.bytesReceived,
      frames_sent: endpoint.framesSent,
      bytes_sent: endpoint.bytesSent,
      last_from_device_seq: endpoint.framesReceived > 0 ? endpoint.framesReceived - 1 : null,
      last_to_device_seq: endpoint.lastToDeviceSeq >= 0 ? endpoint.lastToDeviceSeq : null,
    });
  }

  /** A connection that never became one: its TLS handshake failed. */
  attemptFailed(
    attempt: { connectionId: string; remoteAddress: string; remotePort: number },
    ending: Ending,
    durationMs: number,
  ): GatewayEvent {
    return this.#stamp('connection.closed', {
      connection_id: attempt.connectionId,
      ...address(attempt),
      ...ending,
      established: false,
      duration_ms: Math.round(durationMs),
      frames_received: 0,
      bytes_received: 0,
      frames_sent: 0,
      bytes_sent: 0,
      last_from_device_seq: null,
      last_to_device_seq: null,
    });
  }

  gap(endpoint: Endpoint, gap: Gap, waitedMs: number): GatewayEvent {
    return this.#stamp('reply.gap', {
      ...identity(endpoint),
      from_seq: gap.fromSeq,
      to_seq: gap.toSeq,
      waited_ms: Math.round(waitedMs),
    });
  }

  /** What became of a reply whose backend asked for a receipt. */
  receipt({ parsed, message }: Delivery, outcome: ReplyOutcome, detail: string | undefined): GatewayEvent {
    const { messageId, correlationId } = message.properties;
    return this.#stamp('reply.receipt', {
      connection_id: parsed.ok ? parsed.headers.connectionId : null,
      to_device_seq: (parsed.ok ? parsed.headers.toDeviceSeq : undefined) ?? null,
      outcome,
      ...(detail === undefined ? {} : { detail }),
      ...(messageId === undefined ? {} : { message_id: messageId }),
      ...(correlationId === undefined ? {} : { correlation_id: correlationId }),
    });
  }

  #stamp(event: string, fields: Record<string, unknown>): GatewayEvent {
    return { event, at: this.#wallClock().toISOString(), node_id: this.#nodeId, ...fields };
  }
}

function identity(endpoint: Endpoint): Record<string, unknown> {
  const { connectionId, peer } = endpoint;
  return peer.deviceId === undefined
    ? { connection_id: connectionId }
    : { connection_id: connectionId, device_id: peer.deviceId };
}

function address({ remoteAddress, remotePort }: { remoteAddress: string; remotePort: number }) {
  return { remote_address: remoteAddress, remote_port: remotePort };
}
