import { fileURLToPath } from 'node:url';
import { descriptorLimit, processesWithin } from './descriptors.ts';
import type { Peer, PeerCertificates, PeerOptions } from './peer.ts';
import { PeerProcess } from './peer-process.ts';

const SCRIPT = fileURLToPath(new URL('./bare-server.mjs', import.meta.url));
const READY_FILE = 'ready';

/** Node's own `tls` with nothing around it: the floor of our runtime. Echoes. */
export function startBare(certificates: PeerCertificates, options: PeerOptions): Promise<Peer> {
  const limit = descriptorLimit();
  const workers = Math.max(options.workers, processesWithin(limit, options.maxConnections, 1));
  return PeerProcess.start(
    {
      name: 'bare',
      version: process.versions.node,
      program: process.execPath,
      processes: workers + 1,
      readyFile: READY_FILE,
      notes:
        workers === options.workers
          ? []
          : [`${workers} workers, not ${options.workers}: each may have ${limit} descriptors`],
      configure: (_, host, port) => [SCRIPT, host, String(port), String(workers), READY_FILE],
    },
    certificates,
    options,
  );
}
