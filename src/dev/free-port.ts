import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const LOWEST = 10_240;

/**
 * A TCP port that is free on 127.0.0.1, claimed for this process: its server may start later, or stop and start again,
 * and nobody else is given its port meanwhile. It is outside of the range the kernel takes the ports of outgoing
 * connections from: inside of it a client's port can take the place of a server that is restarting, and a client that
 * reconnects to a closed port can even connect to itself.
 */
export async function freePort(): Promise<number> {
  const highest = firstEphemeralPort() - 1;
  for (let tries = 0; tries < 100 && highest > LOWEST; tries++) {
    const port = LOWEST + Math.floor(Math.random() * (highest - LOWEST + 1));
    if (await claimPort(port)) return port;
  }
  return listenOnce(0);
}

export async function isPortFree(port: number): Promise<boolean> {
  return listenOnce(port).then(
    () => true,
    () => false,
  );
}

/**
 * Takes a port of 127.0.0.1 for this process, so that of two that find it free only one goes on to use it. On systems
 * other than Linux it only says whether the port is free.
 * @returns false when it is in use, or another process has claimed it
 */
export async function claimPort(port: number): Promise<boolean> {
  if (process.platform === 'linux' && !(await claimName(`owsla-port-${port}`))) return false;
  return isPortFree(port);
}

/** A name is another's as long as its process lives: that of a socket in the abstract namespace, unix(7). */
function claimName(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().unref();
    server.once('error', () => resolve(false));
    server.listen(`\0${name}`, () => resolve(true));
  });
}

/** Listens, closes, and returns the port it had. */
function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : port));
    });
  });
}

function firstEphemeralPort(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/)[0]);
  } catch {
    return 32_768; // Not Linux: its default is as good a guess as any.
  }
}
