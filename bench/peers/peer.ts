import type { Launcher } from '../pinning.ts';
import type { Target } from '../target/target.ts';
import { startBare } from './bare.ts';
import { startHaproxy } from './haproxy.ts';
import { startMosquitto } from './mosquitto.ts';
import { startNginx } from './nginx.ts';

/** A server of somebody else that terminates TLS, run beside the gateway so that figures can be compared. */
export interface Peer extends Target {
  readonly name: PeerName;
}

export const PEER_NAMES = ['nginx', 'haproxy', 'mosquitto', 'bare'] as const;
export type PeerName = (typeof PEER_NAMES)[number];

/** Paths of PEM files. */
export interface PeerCertificates {
  readonly cert: string;
  readonly key: string;
}

export interface PeerOptions {
  /** Processes, or threads, that serve connections. */
  readonly workers: number;
  /** How many connections it has to hold at once. */
  readonly maxConnections: number;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  readonly launcher?: Launcher;
}

const STARTERS = { nginx: startNginx, haproxy: startHaproxy, mosquitto: startMosquitto, bare: startBare };

/**
 * Starts a peer with a configuration of its own on a free port, and waits until it serves. It ends with this
 * process, however that ends.
 *
 * All of them: TLS 1.2 and 1.3, session tickets, X25519 or P-256, a backlog of 4,096 where it can be set.
 * @throws Error with one line that names the Debian package when the program is missing, or says why it did not start
 */
export function startPeer(
  name: PeerName,
  certificates: PeerCertificates,
  options: PeerOptions,
): Promise<Peer> {
  return STARTERS[name](certificates, options);
}
