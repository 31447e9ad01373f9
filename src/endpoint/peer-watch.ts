import { readFile } from 'node:fs/promises';

/**
 * Finds connections whose peer is gone although nobody reads from them. A paused socket is told nothing: neither the
 * peer's FIN nor the kernel's own verdict after unanswered keepalive probes. The kernel's table of TCP sockets has
 * both (proc(5), /proc/net/tcp and tcp6): a socket that waits for us to close, or one that is no longer there.
 */
export type PeerState = 'alive' | 'half_closed' | 'gone';

/** Remote ends as `address:port`, in the words of `net.Socket`. */
export type RemoteEnd = string;

const ESTABLISHED = '01';
const CLOSE_WAIT = '08';

/** Adds the sockets of a table that are bound to the port: whether their peer has closed its side. Pure. */
export function readTcpTable(table: string, localPort: number, into: Map<RemoteEnd, PeerState>): void {
  const port = `:${localPort.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of table.split('\n')) {
    const [, local, remote, state] = line.trim().split(/\s+/, 4);
    if (local === undefined || remote === undefined || !local.endsWith(port)) continue;
    if (state === ESTABLISHED) into.set(remoteEnd(remote), 'alive');
    else if (state === CLOSE_WAIT) into.set(remoteEnd(remote), 'half_closed');
  }
}

/** The states of all connections of a local port, or `undefined` where the kernel shows none (no Linux). */
export async function peerStates(localPort: number): Promise<ReadonlyMap<RemoteEnd, PeerState> | undefined> {
  const states = new Map<RemoteEnd, PeerState>();
  try {
    readTcpTable(await readFile('/proc/net/tcp', 'latin1'), localPort, states);
  } catch {
    return undefined; // No table, nothing to say; closing on a guess would be worse.
  }
  // Without IPv6 in the kernel this one alone is missing.
  readTcpTable(await readFile('/proc/net/tcp6', 'latin1').catch(() => ''), localPort, states);
  return states;
}

/** `0100007F:1F90` → `127.0.0.1:8080`: the kernel prints each 32-bit word in the machine's byte order. */
function remoteEnd(hex: string): RemoteEnd {
  const [address, port] = hex.split(':');
  const bytes = Buffer.from(address!, 'hex');
  bytes.swap32();
  return `${bytes.length === 4 ? ipv4(bytes) : ipv6(bytes)}:${Number.parseInt(port!, 16)}`;
}

function ipv4(bytes: Buffer): string {
  return bytes.join('.');
}

function ipv6(bytes: Buffer): string {
  const mapped = bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
  return mapped ? ipv4(bytes.subarray(12)) : bytes.toString('hex');
}

/** An address as `net.Socket` gives it, in the form that the table is read into. */
export function remoteEndOf(address: string, port: number): RemoteEnd {
  if (!address.includes(':')) return `${address}:${port}`;
  if (address.startsWith('::ffff:') && address.includes('.'))
    return `${address.slice('::ffff:'.length)}:${port}`;
  const [withoutZone] = address.split('%');
  const [head, tail] = withoutZone!.split('::') as [string, string | undefined];
  const words = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(':'));
  const missing = 8 - words(head).length - words(tail).length;
  const all = [...words(head), ...new Array(tail === undefined ? 0 : missing).fill('0'), ...words(tail)];
  return `${all.map((word) => word.padStart(4, '0')).join('')}:${port}`;
}
