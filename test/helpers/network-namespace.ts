import { execFile } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';

/**
 * A network namespace that is joined to ours by links which can be cut without a word to either side: packets
 * leave for a hardware address that nobody has, and no reset, no unreachable, no carrier loss tells of it.
 * Needs Linux, iproute2 and root; where one is missing, `create` throws.
 */
export class NetworkNamespace {
  /** Whether this user may make one; a container can still forbid it to root. */
  static readonly isAllowed = process.getuid?.() === 0;
  readonly name: string;
  readonly #links: NetworkLink[] = [];

  static async create(): Promise<NetworkNamespace> {
    await removeAbandoned();
    const name = `${PREFIX}${process.pid}-${randomBytes(3).toString('hex')}`;
    await ip('netns', 'add', name);
    await ip('-netns', name, 'link', 'set', 'lo', 'up');
    return new NetworkNamespace(name);
  }

  private constructor(name: string) {
    this.name = name;
  }

  /** Command that runs a program inside. */
  get wrapper(): string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** Sets a kernel parameter, such as `net.ipv4.tcp_retries2`, for what is inside. */
  async sysctl(name: string, value: number): Promise<void> {
    const file = `/proc/sys/${name.replaceAll('.', '/')}`;
    await ip('netns', 'exec', this.name, 'sh', '-c', `echo ${value} > ${file}`);
  }

  async addLink(): Promise<NetworkLink> {
    const link = await NetworkLink.create(this.name);
    this.#links.push(link);
    return link;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The namespace lives on as long as a process in it does; its links need not.
    for (const { device } of this.#links) await ip('link', 'delete', device).catch(() => {});
    await ip('netns', 'delete', this.name);
  }
}

/** A pair of virtual network devices: one end is ours, the other is in the namespace. */
export class NetworkLink {
  /** Address of our end. */
  readonly outer: string;
  /** Address of the end in the namespace. */
  readonly inner: string;
  /** Name of our end. */
  readonly device: string;
  readonly #namespace: string;
  readonly #innerDevice: string;

  static async create(namespace: string): Promise<NetworkLink> {
    const link = new NetworkLink(namespace, await freeSubnet());
    await link.#setUp();
    return link;
  }

  private constructor(namespace: string, subnet: string) {
    const id = randomBytes(4).toString('hex');
    this.outer = `${subnet}.1`;
    this.inner = `${subnet}.2`;
    this.device = `ow${id}o`;
    this.#innerDevice = `ow${id}i`;
    this.#namespace = namespace;
  }

  async #setUp(): Promise<void> {
    const inside = ['-netns', this.#namespace];
    const peer = ['peer', 'name', this.#innerDevice, 'netns', this.#namespace];
    await ip('link', 'add', this.device, 'type', 'veth', ...peer);
    await ip('address', 'add', `${this.outer}/24`, 'dev', this.device);
    await ip('link', 'set', this.device, 'up');
    await ip(...inside, 'address', 'add', `${this.inner}/24`, 'dev', this.#innerDevice);
    await ip(...inside, 'link', 'set', this.#innerDevice, 'up');
  }

  /** From now on every packet is lost, both ways. */
  async cut(): Promise<void> {
    for (const [where, device, peer] of this.#ends())
      await ip(...where, 'neighbour', 'replace', peer, 'dev', device, 'lladdr', NOBODY, 'nud', 'permanent');
  }

  async heal(): Promise<void> {
    for (const [where, device, peer] of this.#ends())
      await ip(...where, 'neighbour', 'delete', peer, 'dev', device);
  }

  #ends(): [where: string[], device: string, peer: string][] {
    return [
      [[], this.device, this.inner],
      [['-netns', this.#namespace], this.#innerDevice, this.outer],
    ];
  }
}

const PREFIX = 'owsla-';
const NOBODY = '02:00:00:00:00:01';

/** One of the networks that RFC 2544 sets aside for tests, and that nothing here uses yet. */
async function freeSubnet(): Promise<string> {
  for (;;) {
    const subnet = `198.${randomInt(18, 20)}.${randomInt(256)}`;
    if ((await ip('-4', 'route', 'show', 'root', `${subnet}.0/24`)) === '') return subnet;
  }
}

/** Those of test runs that were killed. */
async function removeAbandoned(): Promise<void> {
  for (const line of (await ip('netns', 'list')).split('\n')) {
    const [name = ''] = line.split(' ');
    const [, pid] = /^owsla-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await ip('netns', 'delete', name).catch(() => {});
  }
}

async function ip(...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)('ip', args)).stdout;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr || String(error);
    throw new Error(`network namespaces need Linux, iproute2 and root: ip ${args.join(' ')}: ${said}`, {
      cause: error,
    });
  }
}
