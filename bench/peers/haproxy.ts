import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { descriptorLimit, processesWithin } from './descriptors.ts';
import type { Peer, PeerCertificates, PeerOptions } from './peer.ts';
import { PeerProcess } from './peer-process.ts';
import { askVersion, requireProgram } from './program.ts';
import { Upstream } from './upstream.ts';

/** A proxied connection: the device's and the upstream's. */
const DESCRIPTORS_EACH = 2;

/** HAProxy refuses to start with more connections than descriptors allow, and counts its own generously. */
const OWN_DESCRIPTORS = 512;

/** HAProxy in `mode tcp`, which terminates TLS in front of plain TCP. Echoes, through its upstream. */
export async function startHaproxy(certificates: PeerCertificates, options: PeerOptions): Promise<Peer> {
  const program = requireProgram('haproxy', 'haproxy');
  const { maxConnections } = options;
  const limit = descriptorLimit();
  const instances = processesWithin(limit - OWN_DESCRIPTORS, maxConnections, DESCRIPTORS_EACH);
  const threads = Math.max(1, Math.ceil(options.workers / instances));
  const upstream = await Upstream.start(maxConnections);
  return PeerProcess.start(
    {
      name: 'haproxy',
      version: await askVersion(program, '-v', /version (\S+)/),
      program,
      processes: instances,
      instances,
      upstream,
      notes:
        instances === 1
          ? []
          : [`${instances} processes on the same port: each may have ${limit} descriptors`],
      configure: (dir, host, port) => {
        const pem = readFileSync(join(dir, 'cert.pem'), 'utf8') + readFileSync(join(dir, 'key.pem'), 'utf8');
        writeFileSync(join(dir, 'server.pem'), pem, { mode: 0o600 });
        writeFileSync(
          join(dir, 'haproxy.cfg'),
          configuration({
            host,
            port,
            threads,
            connections: connectionsEach(maxConnections, instances, limit),
            upstream: upstream.ports,
          }),
        );
        return ['-db', '-f', 'haproxy.cfg'];
      },
    },
    certificates,
    options,
  );
}

/** The kernel does not spread connections evenly over several processes: each gets room for more than its share. */
function connectionsEach(maxConnections: number, instances: number, limit: number): number {
  if (instances === 1) return maxConnections;
  return Math.min(maxConnections, Math.floor((limit - OWN_DESCRIPTORS) / DESCRIPTORS_EACH));
}

interface HaproxySettings {
  readonly host: string;
  readonly port: number;
  readonly threads: number;
  readonly connections: number;
  readonly upstream: readonly number[];
}

function configuration({ host, port, threads, connections, upstream }: HaproxySettings): string {
  return `global
  nbthread ${threads}
  maxconn ${connections}
defaults
  mode tcp
  timeout connect 10s
  timeout client 24h
  timeout server 24h
listen devices
  bind ${host}:${port} ssl crt server.pem ssl-min-ver TLSv1.2 curves X25519:P-256 backlog 4096
  maxconn ${connections}
  balance roundrobin
${upstream.map((upstreamPort, index) => `  server echo${index} 127.0.0.1:${upstreamPort}`).join('\n')}
`;
}
