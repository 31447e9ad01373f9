import type { TLSSocket } from 'node:tls';
import type { Peer } from '../endpoint/endpoint-host.ts';
import type { Ending } from '../endpoint/lifecycle.ts';
import type { Networks } from '../util/networks.ts';
import type { AddressRefusal, AddressTable } from './address-table.ts';
import type { AdmissionRefusal } from './admission.ts';
import type { HandshakeKind } from './client-hello.ts';
import type { Handshake } from './handshake.ts';
import type { IdentityField } from './identity.ts';

export interface AcceptorOptions {
  readonly host: string;
  readonly port: number;
  readonly backlog: number;
  /** A listening socket of its own for each worker, where the runtime and the system can. */
  readonly reusePort: boolean;
  /** Handshakes included. */
  maxConnections(): number;
  /** Sockets that have not sent a ClientHello; past that the longest silent one has to go. */
  readonly maxSilent: number;
  readonly handshakeTimeoutMs: number;
  /** 0: off. */
  readonly keepAliveMs: number;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  /** For the key exchange, separated by colons. */
  readonly groups: string;
  readonly cert: string;
  readonly key: string;
  readonly clientAuth: 'none' | 'optional' | 'required';
  readonly clientCa: string | undefined;
  readonly identity: IdentityField;
  readonly ticketKeys: Buffer;
  readonly sessionLifetimeMs: number;
  /** What handshakes may take of one turn of the event loop. */
  readonly turnBudgetMs: number;
  /** Load balancers whose PROXY header is demanded and believed; nobody else gets in. Undefined: no header. */
  readonly proxy:
    | { readonly trusted: Networks; readonly headerTimeoutMs: number; readonly maxHeaderBytes: number }
    | undefined;
  /** Limits per address, and whom they do not hold for. */
  readonly addresses: { readonly table: AddressTable; readonly exempt: Networks } | undefined;
}

/** Why a socket was reset before its handshake. */
export const REFUSAL_REASONS = [
  'max_connections',
  'broker_backlog',
  'accept_queue_full',
  'accept_queue_timeout',
  'rate_limit',
  'no_hello',
  'gave_up',
  'address_connections',
  'address_rate',
  'address_penalty',
  'proxy_untrusted',
  'proxy_header',
  'proxy_timeout',
] as const satisfies readonly (AdmissionRefusal | AddressRefusal | string)[];
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export interface AcceptorHandlers {
  nextConnectionId(): string;
  established(connectionId: string, socket: TLSSocket, peer: Peer, handshakeMs: number): void;
  failed(handshake: Handshake, ending: Ending): void;
  refused(reason: RefusalReason, remoteAddress: string, detail?: string): void;
  /** Connections that are established and not closed. */
  openConnections(): number;
  /** What closed connections have left, and the broker has not taken, leaves no room for more. */
  hasBrokerBacklog(): boolean;
  /** The mean delay of the event loop since the last call. */
  loopDelayMs(): number;
  /** The line was looked through; called some times a second. */
  ticked(): void;
  /** The system could not accept a connection: EMFILE, ENFILE, ENOBUFS, … */
  acceptFailed(error: NodeJS.ErrnoException): void;
  handshakeStarted(kind: HandshakeKind, waitedMs: number): void;
  /** A client had offered a session, and cost a full handshake all the same. */
  notResumed(): void;
}
