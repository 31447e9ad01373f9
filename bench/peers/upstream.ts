import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { GuardedChild } from '../../src/dev/child.ts';
import { descriptorLimit, processesWithin } from './descriptors.ts';

/** Connections to one upstream port: the kernel has about 28,000 ports to make them from. */
const CONNECTIONS_PER_PORT = 20_000;

const SCRIPT = fileURLToPath(new URL('./upstream-server.mjs', import.meta.url));

/** Where the proxies among the peers connect to: processes that send back what they get, each on its own port. */
export class Upstream implements AsyncDisposable {
  readonly ports: readonly number[];
  readonly #children: readonly GuardedChild[];

  static async start(maxConnections: number): Promise<Upstream> {
    const count = Math.max(
      Math.ceil(maxConnections / CONNECTIONS_PER_PORT),
      processesWithin(descriptorLimit(), maxConnections, 1),
    );
    const children = Array.from({ length: count }, () =>
      GuardedChild.spawn(process.execPath, [SCRIPT], { env: {}, stdout: 'pipe', stderr: 'inherit' }),
    );
    try {
      return new Upstream(children, await Promise.all(children.map(portOf)));
    } catch (error) {
      await Promise.all(children.map((child) => child.kill()));
      throw error;
    }
  }

  private constructor(children: readonly GuardedChild[], ports: readonly number[]) {
    this.#children = children;
    this.ports = ports;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()));
  }
}

/** The one thing it prints. */
async function portOf(child: GuardedChild): Promise<number> {
  const said = once(child.process.stdout!, 'data').then(([chunk]) => Number(String(chunk)));
  const ended = child.ended.then(({ code }) => {
    throw new Error(`an upstream process ended at its start (code ${code})`);
  });
  return Promise.race([said, ended]);
}
