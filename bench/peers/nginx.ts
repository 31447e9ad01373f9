import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findOnPath } from '../../src/dev/find-on-path.ts';
import { findNginxStream } from '../../src/dev/nginx-stream.ts';
import { descriptorLimit, descriptorsPerProcess, processesWithin } from './descriptors.ts';
import type { Peer, PeerCertificates, PeerOptions } from './peer.ts';
import { PeerProcess } from './peer-process.ts';
import { missingProgram } from './program.ts';
import { Upstream } from './upstream.ts';

/** A proxied connection: the device's and the upstream's. */
const DESCRIPTORS_EACH = 2;

/** nginx with its `stream` module, which terminates TLS in front of plain TCP. Echoes, through its upstream. */
export async function startNginx(certificates: PeerCertificates, options: PeerOptions): Promise<Peer> {
  const nginx = await findNginxStream();
  if (nginx === undefined) {
    throw findOnPath('nginx') === undefined
      ? missingProgram('nginx', 'nginx libnginx-mod-stream')
      : missingProgram("nginx's stream module", 'libnginx-mod-stream');
  }
  const { maxConnections } = options;
  const limit = descriptorLimit();
  const workers = Math.max(options.workers, processesWithin(limit, maxConnections, DESCRIPTORS_EACH));
  const descriptors = descriptorsPerProcess(maxConnections, DESCRIPTORS_EACH, workers);
  const upstream = await Upstream.start(maxConnections);
  return PeerProcess.start(
    {
      name: 'nginx',
      version: nginx.version,
      program: nginx.program,
      processes: workers + 1,
      upstream,
      notes:
        workers === options.workers
          ? []
          : [`${workers} workers, not ${options.workers}: each may have ${limit} descriptors`],
      configure: (dir, host, port) => {
        writeFileSync(
          join(dir, 'nginx.conf'),
          configuration({ host, port, workers, descriptors, module: nginx.module, upstream: upstream.ports }),
        );
        return ['-p', dir, '-c', 'nginx.conf', '-e', 'stderr'];
      },
    },
    certificates,
    options,
  );
}

interface NginxSettings {
  readonly host: string;
  readonly port: number;
  readonly workers: number;
  /** Of each worker. */
  readonly descriptors: number;
  readonly module: string | undefined;
  readonly upstream: readonly number[];
}

/** Relative paths are looked for in the private folder. */
function configuration({ host, port, workers, descriptors, module, upstream }: NginxSettings): string {
  return `daemon off;
${module === undefined ? '' : `load_module ${module};`}
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes ${workers};
worker_rlimit_nofile ${descriptors};
pid nginx.pid;
error_log stderr error;
events {
  worker_connections ${descriptors};
}
stream {
  upstream echo {
${upstream.map((upstreamPort) => `    server 127.0.0.1:${upstreamPort};`).join('\n')}
  }
  server {
    listen ${host}:${port} ssl backlog=4096 reuseport;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:prime256v1;
    ssl_session_tickets on;
    proxy_pass echo;
    proxy_timeout 24h;
  }
}
`;
}
