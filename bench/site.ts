import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificateFiles, issueClientCertificate, writeCertificates } from '../src/dev/certificates.ts';
import { PrivateBroker } from '../src/dev/private-broker.ts';
import { Meter } from './accounting/meter.ts';
import { LoadBackend } from './backend/backend.ts';
import type { BackendSettings } from './backend/messages.ts';
import {
  type BackendOptions,
  type DeviceOptions,
  gatewaySettings,
  hostAndPort,
  processIds,
  type RetryOptions,
} from './cli/common-options.ts';
import { UsageError } from './cli/option-table.ts';
import { checkAuthority } from './fleet/authority.ts';
import { Fleet } from './fleet/fleet.ts';
import type { RetryPolicy } from './fleet/retry-policy.ts';
import { type SlowPlan, SlowSockets } from './fleet/slow-sockets.ts';
import { sourceAddresses } from './fleet/source-addresses.ts';
import { type Launcher, pinApart } from './pinning.ts';
import type { Run } from './run.ts';
import { GatewayTarget } from './target/gateway.ts';
import { GivenTarget } from './target/given-target.ts';
import type { Target } from './target/target.ts';
import { checkPids, checkTarget, type GivenOptions } from './target/target-options.ts';

export interface SiteOptions extends GivenOptions, DeviceOptions, Partial<RetryOptions> {}

const NO_RETRY: RetryPolicy = { kind: 'none', minMs: 0, maxMs: 0, limit: 0 };
/** Plain AMQP defaults of the gateway, unless --gateway names others. */
const NAMES = {
  OWSLA_AMQP_FROM_DEVICE: 'from_device',
  OWSLA_AMQP_TO_DEVICE: 'to_device',
  OWSLA_AMQP_UNDELIVERED: 'undelivered',
  OWSLA_AMQP_SHARDS: '1',
};

/** The place that a scenario runs at: broker, certificates, and what is started there on demand. */
export class Site {
  readonly #run: Run;
  readonly #options: SiteOptions;
  readonly #settings: Record<string, string>;
  readonly #certificates: CertificateFiles;
  readonly #client: { cert: string; key: string } | undefined;
  /** For what is measured. */
  readonly launcher: Launcher;
  /** Of the harness's own; absent with --amqp-url, and with --target. */
  readonly broker: PrivateBroker | undefined;
  /** CPU and memory of that broker; nothing where there is none, or where it is in a container. */
  readonly brokerMeter: Meter;

  /**
   * @param settings configuration of the gateway, under what --gateway says
   * @throws UsageError
   */
  static async prepare(run: Run, options: SiteOptions, settings: Record<string, string> = {}): Promise<Site> {
    const { host } = options.target === undefined ? { host: OWN_HOST } : hostAndPort(options.target);
    sourcesOf(options, host);
    const launcher = options.pin ? pinApart() : [];
    checkPids(options);
    checkTarget(options, Object.keys(NAMES));
    checkAuthority(options.ca);
    const all = { ...settings, ...gatewaySettings(options.gateway) };
    const folder = mkdtempSync(join(tmpdir(), 'owsla-bench-tls-'));
    await run.own(
      Promise.resolve({ [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true }) }),
    );
    const certificates = await writeCertificates(folder, { key: options.key });
    const client = options.clientCertificate ? await clientCertificate(folder, certificates) : undefined;
    const broker = await privateBroker(run, options);
    return new Site(run, options, all, certificates, client, launcher, broker);
  }

  private constructor(
    run: Run,
    options: SiteOptions,
    settings: Record<string, string>,
    certificates: CertificateFiles,
    client: { cert: string; key: string } | undefined,
    launcher: Launcher,
    broker: PrivateBroker | undefined,
  ) {
    this.#run = run;
    this.#options = options;
    this.#settings = settings;
    this.#certificates = certificates;
    this.#client = client;
    this.launcher = launcher;
    this.broker = broker;
    const seen = broker?.isInContainer ? undefined : broker;
    this.brokerMeter = new Meter('broker', () => (seen?.running ? [seen.pid] : []));
    if (seen !== undefined) run.sampler.watch(this.brokerMeter);
  }

  get certificates(): { cert: string; key: string } {
    return this.#certificates;
  }

  /** @throws UsageError when there is none: the gateway is somebody else's, and his broker was not named */
  get amqpUrl(): string {
    const url = this.#options.amqpUrl ?? this.broker?.url;
    if (url === undefined)
      throw new UsageError('--amqp-url is needed with --target: this scenario has a backend at its broker');
    return url;
  }

  /** What the options name, or else a gateway of our own. @param connections that are planned at most */
  async startTarget(connections: number): Promise<Target> {
    const { target, pid } = this.#options;
    if (target === undefined) return await this.startGateway(connections);
    const { host, port } = hostAndPort(target);
    return new GivenTarget(host, port, processIds(pid));
  }

  /** @throws UsageError with --target */
  async startGateway(connections: number): Promise<GatewayTarget> {
    if (this.#options.target !== undefined)
      throw new UsageError('--target does not go with this scenario: it restarts the gateway');
    this.#run.progress.say('starting the gateway');
    const gateway = await this.#run.own(
      GatewayTarget.start({
        amqpUrl: this.amqpUrl,
        certificates: this.#certificates,
        clientCa: this.#client === undefined ? undefined : this.#certificates.ca,
        workers: this.#options.workers,
        connections,
        settings: this.#settings,
        launcher: this.launcher,
        say: (line) => this.#run.progress.say(line),
      }),
    );
    this.#run.measured.version('owsla', gateway.version);
    return gateway;
  }

  async startBackend(options: BackendOptions | 'sink'): Promise<LoadBackend> {
    const names = { ...NAMES, ...this.#settings };
    const shards = Number(names.OWSLA_AMQP_SHARDS);
    const queue = names.OWSLA_AMQP_FROM_DEVICE;
    const answers = options === 'sink' ? SINK : options;
    const settings: BackendSettings = {
      url: this.amqpUrl,
      fromDevice: shards > 1 ? Array.from({ length: shards }, (_, i) => `${queue}.${i}`) : [queue],
      toDevice: names.OWSLA_AMQP_TO_DEVICE,
      undelivered: names.OWSLA_AMQP_UNDELIVERED,
      reply: options === 'sink' ? 'none' : options.reply,
      shuffle: answers.shuffle,
      drop: answers.drop,
      delayMs: answers.delay * 1_000,
      duplicate: answers.duplicate,
    };
    const backend = await this.#run.own(LoadBackend.start(settings));
    this.#run.addHarness(backend.pid);
    return backend;
  }

  /** @param connections that it will have at most */
  async startFleet(
    target: Target,
    options: {
      connections: number;
      speaks: boolean;
      resume?: number;
      retry?: RetryPolicy;
      processes?: number;
    },
  ): Promise<Fleet> {
    const { ca, connectTimeout, loadProcesses } = this.#options;
    const { host, port } = target;
    const fleet = await this.#run.own(
      Fleet.start({
        name: target.name,
        processes: options.processes ?? loadProcesses,
        connections: options.connections,
        host,
        port,
        ca,
        client: this.#client,
        sources: sourcesOf(this.#options, host),
        resumeShare: options.resume ?? this.#options.resume,
        connectTimeoutMs: connectTimeout * 1_000,
        retry: options.retry ?? this.retry,
        hello: target.hello?.toString('base64'),
        speaks: options.speaks,
      }),
    );
    this.#run.addHarness(...fleet.pids);
    return fleet;
  }

  async startSlowSockets(
    { host, port }: Target,
    plan: Pick<SlowPlan, 'count' | 'ratePerS'>,
  ): Promise<SlowSockets> {
    const sources = sourcesOf(this.#options, host);
    const slow = new SlowSockets({ host, port, sources, ...plan });
    this.#run.addHarness(...slow.pids);
    return await this.#run.own(Promise.resolve(slow));
  }

  get retry(): RetryPolicy {
    const { retry, retryMin, retryMax, retryLimit } = this.#options;
    if (retry === undefined) return NO_RETRY;
    return { kind: retry, minMs: retryMin! * 1_000, maxMs: retryMax! * 1_000, limit: retryLimit! };
  }
}

/** @throws UsageError */
function sourcesOf({ source }: SiteOptions, host: string): string[] {
  const addresses = sourceAddresses(source, host);
  if (addresses === undefined)
    throw new UsageError(
      `--source: "${source.join(',')}" is not possible; expected auto, IPv4 addresses, or ranges like 127.0.1.1-127.0.1.9`,
    );
  return addresses;
}

/** Where a gateway of our own listens. */
const OWN_HOST = '127.0.0.1';

const SINK = { shuffle: 0, drop: 0, delay: 0, duplicate: 0 } as const;

/** A RabbitMQ of our own, unless the gateway is somebody else's or another broker was named. */
async function privateBroker(run: Run, options: SiteOptions): Promise<PrivateBroker | undefined> {
  if (options.target !== undefined || options.amqpUrl !== undefined) return undefined;
  run.progress.say('starting a private RabbitMQ');
  const broker = await run.own(PrivateBroker.start({ say: (line) => run.progress.say(line) }));
  run.measured.version('rabbitmq', (await broker.ctl('version')).trim());
  if (broker.isInContainer) run.measured.note('broker: in a container, so its CPU and memory are not known');
  return broker;
}

async function clientCertificate(
  folder: string,
  { ca }: CertificateFiles,
): Promise<{ cert: string; key: string }> {
  const authority = { cert: readFileSync(ca, 'utf8'), key: readFileSync(join(folder, 'ca-key.pem'), 'utf8') };
  const issued = await issueClientCertificate(authority, { commonName: 'bench-device' });
  const files = { cert: join(folder, 'client.pem'), key: join(folder, 'client-key.pem') };
  writeFileSync(files.cert, issued.cert);
  writeFileSync(files.key, issued.key, { mode: 0o600 });
  return files;
}
