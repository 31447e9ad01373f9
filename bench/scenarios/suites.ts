import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type EphemeralKeyInfo } from 'node:tls';
import {
  type CertificateFiles,
  KEY_KINDS,
  type KeyKind,
  writeCertificates,
} from '../../src/dev/certificates.ts';
import { Meter } from '../accounting/meter.ts';
import { UsageError, type Values } from '../cli/option-table.ts';
import { secureContextOf } from '../fleet/crowd.ts';
import { Fleet } from '../fleet/fleet.ts';
import { FleetWatch } from '../fleet/fleet-watch.ts';
import { differenceOf, type TlsOffer } from '../fleet/messages.ts';
import { sourceAddresses } from '../fleet/source-addresses.ts';
import { type Peer, startPeer } from '../peers/peer.ts';
import type { Run } from '../run.ts';
import { SEEDS, said } from './connect.ts';
import { enterRatio } from './contenders.ts';
import { scenario } from './scenario.ts';

/** What a server does after the last handshake still belongs to the handshakes. */
const SETTLE_MS = 500;
const CONNECT_TIMEOUT_MS = 30_000;
/** Older names that Node knows groups by. */
const GROUP_NAMES: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};
const VERSIONS = { '1.2': 'TLSv1.2', '1.3': 'TLSv1.3' } as const;

const options = {
  suite: {
    kind: 'list',
    shape: 'KEY/VERSION/GROUP[/resumed]',
    default: [
      'p256/1.3/X25519',
      'p256/1.3/X25519/resumed',
      'p256/1.3/P-256',
      'p256/1.3/P-384',
      'p256/1.2/X25519',
      'rsa2048/1.3/X25519',
      'rsa2048/1.3/X25519/resumed',
      'rsa3072/1.3/X25519',
    ],
    help: `What to measure; ratios are to the first. Keys: ${KEY_KINDS.join(', ')}. Versions: 1.2, 1.3. Groups as OpenSSL names them; X25519MLKEM768 needs Node 24. With resumed: sessions are fetched first, uncounted, and resumed.`,
  },
  connections: {
    kind: 'count',
    default: 1_000,
    min: 1,
    help: 'Connections to make and hold, in each round.',
  },
  warmupConnections: { kind: 'count', default: 1_000, help: 'Connections made and closed first, each time.' },
  concurrency: { kind: 'count', default: 32, min: 1, help: 'Connections under way at once.' },
  rounds: { kind: 'count', default: 3, min: 1, help: 'Rounds; in each, all are measured in turn.' },
} as const;

type Options = Values<typeof options>;

interface Suite extends TlsOffer {
  readonly name: string;
  readonly key: KeyKind;
  readonly resumed: boolean;
}

export const suites = scenario({
  name: 'suites',
  summary: 'what keys, TLS versions and groups cost a server',
  description: `Handshakes with a bare Node tls server, whose certificate has the key that is named, by devices that offer one
version and one group. They are full, but for those named as resumed. It is the runtime's cost, with nothing of the gateway in it; no broker is needed.`,
  options,
  async run(run, options) {
    const folder = mkdtempSync(join(tmpdir(), 'owsla-bench-suites-'));
    await run.own(
      Promise.resolve({ [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true }) }),
    );
    const all: { suite: Suite; name: string; certificates: CertificateFiles; cpuMs: number[] }[] = [];
    for (const suite of options.suite.map(parseSuite)) {
      const certificates = await writeCertificates(join(folder, suite.key), { key: suite.key });
      all.push({ suite, name: suite.name, certificates, cpuMs: [] });
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const { suite, certificates, cpuMs } of all) {
        run.say(`${suite.name}: round ${round} of ${options.rounds}`);
        cpuMs.push(await measure(run, suite, certificates, options));
      }
    }
    const [first, ...others] = all;
    for (const { name, cpuMs } of all) run.measured.median('handshake.cpu', 'ms', cpuMs, name, 'lower');
    for (const { name, cpuMs } of others)
      enterRatio(
        run.measured,
        'handshake.cpu',
        { name, values: cpuMs },
        { name: first!.name, values: first!.cpuMs },
      );
  },
});

/** @throws UsageError */
function parseSuite(text: string): Suite {
  const [key, version, group, resumed, ...rest] = text.split('/');
  const isKey = KEY_KINDS.some((kind) => kind === key);
  const isVersion = version !== undefined && version in VERSIONS;
  const isKind = resumed === undefined || (resumed === 'resumed' && rest.length === 0);
  if (!isKey || !isVersion || !group || !isKind)
    throw new UsageError(
      `--suite: "${text}" is not possible; expected a key of ${KEY_KINDS.join(', ')}, a version (1.2, 1.3) and a group, as in p256/1.3/X25519, and /resumed for sessions that are resumed`,
    );
  return {
    name: text,
    key: key as KeyKind,
    version: VERSIONS[version as keyof typeof VERSIONS],
    group,
    resumed: resumed !== undefined,
  };
}

/** CPU of the server for each handshake, in milliseconds. */
async function measure(
  run: Run,
  suite: Suite,
  certificates: CertificateFiles,
  options: Options,
): Promise<number> {
  const { connections, warmupConnections, concurrency } = options;
  const most = Math.max(connections, warmupConnections) + SEEDS;
  const server = await run.own(startPeer('bare', certificates, { workers: 1, maxConnections: most }));
  await probe(server, suite);
  const start = () => run.own(startFleet(server, suite, most));
  if (warmupConnections > 0) {
    const first = await start();
    await first.connect(warmupConnections, { concurrency });
    await first.close();
    await run.end(first);
  }
  const fleet = await start();
  if (suite.resumed) await fleet.connect(SEEDS, { concurrency });
  const before = fleet.counters;
  const watch = new FleetWatch(run, fleet, suite.name);
  const meter = new Meter(suite.name, () => server.pids());
  const beforeMs = meter.read().cpuMs;
  await fleet.connect(connections, { concurrency });
  await delay(SETTLE_MS);
  const afterMs = meter.read().cpuMs;
  watch.end();
  await fleet.quiet();
  const { established, resumed, failed } = differenceOf(fleet.counters, before);
  if (established !== connections)
    run.measured.problem(
      `${suite.name}: ${connections - established} of ${connections} failed: ${said(failed)}`,
    );
  if (suite.resumed && resumed !== connections)
    run.measured.problem(`${suite.name}: ${resumed} of ${connections} were resumed`);
  await run.end(fleet);
  await run.end(server);
  return (afterMs - beforeMs) / established;
}

function startFleet(
  { host, port }: Peer,
  { name, version, group, resumed }: Suite,
  connections: number,
): Promise<Fleet> {
  return Fleet.start({
    name,
    processes: 0,
    connections,
    host,
    port,
    ca: undefined,
    client: undefined,
    sources: sourceAddresses(['auto'], host) ?? [],
    resumeShare: resumed ? 1 : 0,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    retry: { kind: 'none', minMs: 0, maxMs: 0, limit: 0 },
    hello: undefined,
    tls: { version, group },
    speaks: false,
  });
}

/** Sees that client and server can do what is to be measured. @throws UsageError when they cannot */
async function probe({ host, port }: Peer, suite: Suite): Promise<void> {
  try {
    const socket = connect({ host, port, rejectUnauthorized: false, ...secureContextOf(suite) });
    await once(socket, 'secureConnect');
    // Nothing for groups that its Node has no name for.
    const { name } = socket.getEphemeralKeyInfo() as EphemeralKeyInfo;
    socket.destroy();
    const used = GROUP_NAMES[name ?? ''] ?? name ?? suite.group;
    if (used !== suite.group) throw new Error(`server and client agreed on ${used}`);
  } catch (error) {
    const why = (error as Error).message;
    throw new UsageError(`--suite: ${suite.name} is not possible with Node ${process.version}: ${why}`);
  }
}
