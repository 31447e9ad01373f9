import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { describe, expect, inject, type TestContext, test } from 'vitest';
import { PEER_NAMES, type Peer, type PeerName, startPeer } from '../../bench/peers/peer.ts';
import { membersOfGroup } from '../../bench/peers/process-group.ts';
import { findOnPath } from '../../src/dev/find-on-path.ts';
import { isPortFree } from '../../src/dev/free-port.ts';
import { findNginxStream } from '../../src/dev/nginx-stream.ts';
import { eventually, within } from '../helpers/eventually.ts';
import { requiredTool } from '../helpers/required-tool.ts';

const OPTIONS = { workers: 2, maxConnections: 100 };
const PROCESSES = { nginx: 3, haproxy: 1, mosquitto: 1, bare: 3 };
const CONNACK = '20020000';

describe.each(PEER_NAMES)('the peer %s', (name) => {
  test('serves TLS, resumes sessions, and leaves nothing behind', async (context) => {
    await requirePeer(name, context);
    const before = childrenOf(process.pid);
    const peer = await startPeer(name, certificates(), OPTIONS);
    const pids = peer.pids();
    const groups = childrenOf(process.pid).filter((pid) => !before.includes(pid));
    const [dir] = groups.flatMap(privateFolders);
    try {
      expect(peer).toMatchObject({ name, host: '127.0.0.1', version: expect.stringMatching(/^\d+\.\d+/) });
      expect(pids).toHaveLength(PROCESSES[name]);
      for (const pid of pids) expect(process.kill(pid, 0)).toBe(true);

      using first = await Client.connect(peer, 'TLSv1.2');
      expect(await first.ask()).toBe(first.expected);
      using second = await Client.connect(peer, 'TLSv1.3');
      expect(await second.ask()).toBe(second.expected);
      // More than one, so that another worker than the first one has to know the session as well.
      for (let i = 0; i < 5; i++) {
        using resumed = await Client.connect(peer, 'TLSv1.2', first.session);
        expect(resumed.isResumed).toBe(true);
        expect(await resumed.ask()).toBe(resumed.expected);
      }
    } finally {
      await peer[Symbol.asyncDispose]();
    }
    expect(peer.pids()).toEqual([]);
    await eventually('the end of all it started', () => groups.flatMap(membersOfGroup).length === 0);
    expect(dir).toBeDefined();
    expect(existsSync(dir!)).toBe(false);
    // The last thread of a process can hold its sockets for a moment longer than there is a process to see.
    await eventually('its port is free', () => isPortFree(peer.port));
  });

  test('ends with a harness that is killed', async (context) => {
    await requirePeer(name, context);
    const { cert, key } = certificates();
    const script = join(import.meta.dirname, '../helpers/hold-peer.ts');
    const harness = spawn(process.execPath, ['--import', 'tsx', script, name, cert, key], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(harness, 'exit');
    let groups: number[] = [];
    let dir: string | undefined;
    try {
      await within('start of the peer', once(harness.stdout, 'data'));
      groups = childrenOf(harness.pid!).filter((pid) => membersOfGroup(pid).length > 0);
      [dir] = groups.flatMap(privateFolders);
    } finally {
      harness.kill('SIGKILL');
    }
    await exited;
    await eventually('the end of all it started', () => groups.flatMap(membersOfGroup).length === 0);
    expect(dir).toBeDefined();
    expect(existsSync(dir!)).toBe(false);
  });
});

describe('a peer that cannot start', () => {
  test('says why, and leaves nothing behind', async (context) => {
    await requirePeer('nginx', context);
    const before = childrenOf(process.pid);
    const { cert } = certificates();
    await expect(startPeer('nginx', { cert, key: cert }, OPTIONS)).rejects.toThrow(
      /^nginx ended at its start: .*cannot load certificate key/,
    );
    expect(childrenOf(process.pid)).toEqual(before);
  });

  test('says that a single process has too few descriptors', async (context) => {
    await requirePeer('mosquitto', context);
    await expect(startPeer('mosquitto', certificates(), { workers: 1, maxConnections: 1e9 })).rejects.toThrow(
      /^mosquitto is one process, which may have \d+ descriptors here: too few for/,
    );
  });
});

/** A TLS client that knows what a peer answers to what it is told first. */
class Client {
  readonly #socket: TLSSocket;
  readonly #hello: Buffer;
  /** In hex. */
  readonly expected: string;
  #session: Buffer | undefined;

  static async connect(peer: Peer, version: 'TLSv1.2' | 'TLSv1.3', session?: Buffer): Promise<Client> {
    const { host, port } = peer;
    const ca = readFileSync(join(inject('certificatesDir'), 'ca.pem'));
    const socket = connect({ host, port, ca, session, minVersion: version, maxVersion: version });
    const client = new Client(socket, peer);
    await within('TLS handshake', once(socket, 'secureConnect'));
    return client;
  }

  private constructor(socket: TLSSocket, { hello }: Peer) {
    this.#socket = socket;
    this.#hello = hello ?? Buffer.from('hello\n');
    this.expected = hello === undefined ? this.#hello.toString('hex') : CONNACK;
    socket.on('session', (session: Buffer) => {
      this.#session = session;
    });
  }

  get isResumed(): boolean {
    return this.#socket.isSessionReused();
  }

  get session(): Buffer {
    return this.#session!;
  }

  /** Says hello, and returns as many bytes as are expected, in hex. */
  async ask(): Promise<string> {
    this.#socket.write(this.#hello);
    let answer = '';
    while (answer.length < this.expected.length) {
      const [chunk] = await within('an answer', once(this.#socket, 'data'));
      answer += (chunk as Buffer).toString('hex');
    }
    return answer;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

function certificates(): { cert: string; key: string } {
  const dir = inject('certificatesDir');
  return { cert: join(dir, 'server.pem'), key: join(dir, 'server-key.pem') };
}

async function requirePeer(name: PeerName, context: TestContext): Promise<void> {
  if (name === 'nginx') requiredTool(await findNginxStream(), 'libnginx-mod-stream', context);
  else if (name !== 'bare') requiredTool(findOnPath(name), name, context);
}

/** The folder that a peer was started in; none for its upstream. */
function privateFolders(pid: number): string[] {
  const folder = readlinkSync(`/proc/${pid}/cwd`);
  return folder.includes('/owsla-peer-') ? [folder] : [];
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined; // It has just ended.
  }
}
