import { KEY_KINDS } from '../../src/dev/certificates.ts';
import { LEAST_LINE_BYTES } from '../fleet/crowd.ts';
import { UsageError, type Values } from './option-table.ts';

/** Options that several scenarios share. */

export const targetOptions = {
  target: {
    kind: 'text',
    shape: 'HOST:PORT',
    help: 'Something that runs already, instead of a gateway started by the harness.',
  },
  pid: {
    kind: 'list',
    shape: 'PID',
    default: [],
    help: 'Process of the target, for CPU and memory; those it started count too.',
  },
  amqpUrl: {
    kind: 'text',
    shape: 'URL',
    help: 'Broker to use instead of a private RabbitMQ; names of queues are set with --gateway.',
  },
  workers: {
    kind: 'count',
    default: 0,
    help: 'Gateway processes; 0: one a core, more for many connections.',
  },
  key: {
    kind: 'choice',
    choices: KEY_KINDS,
    default: 'p256',
    help: "Private key of the target's certificate. RSA costs it more, and the devices less.",
  },
  pin: {
    kind: 'flag',
    help: 'Half of the cores for what is measured, the other half for load, backend and broker.',
  },
  gateway: {
    kind: 'list',
    shape: 'KEY=VALUE',
    whole: true,
    default: [],
    help: 'Environment of the gateway, for example OWSLA_AMQP_QUEUE_TYPE=classic or LD_PRELOAD=libjemalloc.so.2; repeatable.',
  },
} as const;

/** Of all scenarios with devices. */
export const deviceOptions = {
  source: {
    kind: 'list',
    shape: 'ADDRESS',
    default: ['auto'],
    help: 'Addresses or ranges (127.0.1.1-127.0.1.9) to connect from; auto: 64 of 127.0.1.x towards a loopback address.',
  },
  resume: { kind: 'share', default: 0, help: 'Share of connects that offer a session of an earlier one.' },
  clientCertificate: {
    kind: 'flag',
    help: 'Devices show a client certificate, and the gateway started by the harness demands one.',
  },
  ca: {
    kind: 'text',
    shape: 'FILE',
    help: 'Authority (PEM) to verify the target against; without it devices verify nothing, which costs the harness less.',
  },
  connectTimeout: { kind: 'duration', default: 10, min: 0.001, help: 'When a device gives an attempt up.' },
  loadProcesses: {
    kind: 'count',
    default: 0,
    help: 'Processes that the devices are spread over; 0: as needed.',
  },
} as const;

/** Of those that are judged by how the harness kept its plan. */
export const fleetOptions = {
  ...deviceOptions,
  maxLag: {
    kind: 'duration',
    default: 0.1,
    min: 0.001,
    help: 'The run fails when the harness itself was later than this with more than 1 % of its sends or connects.',
  },
} as const;

export const retryOptions = {
  retry: {
    kind: 'choice',
    choices: ['none', 'fixed', 'exponential'],
    default: 'exponential',
    help: 'What a device does after a failed attempt or a loss; exponential has full jitter.',
  },
  retryMin: {
    kind: 'duration',
    default: 1,
    help: 'The fixed wait, or the bound of the first exponential one.',
  },
  retryMax: { kind: 'duration', default: 30, help: 'Largest bound of an exponential wait.' },
  retryLimit: {
    kind: 'count',
    default: 0,
    help: 'Attempts after the first until a device gives up; 0: no limit.',
  },
} as const;

/** Of scenarios that do something to a population which is connected and speaks. */
export const establishedOptions = {
  devices: { kind: 'count', default: 200, min: 1, help: 'The established population.' },
  rate: {
    kind: 'number',
    default: 200,
    min: 1,
    unit: 'lines/s',
    help: 'Its steady echo traffic, open loop.',
  },
  quiet: {
    kind: 'duration',
    default: 5,
    min: 1,
    help: 'Steady traffic that is measured first, undisturbed.',
  },
} as const;

export const lineOptions = {
  lineBytes: {
    kind: 'count',
    default: 64,
    min: LEAST_LINE_BYTES,
    unit: 'bytes',
    help: `Length of a line, its end included; at least ${LEAST_LINE_BYTES}, as each begins with its device, number and time.`,
  },
  warmup: { kind: 'duration', default: 3, help: 'Traffic before the measurement, not counted.' },
  drain: {
    kind: 'duration',
    default: 10,
    help: 'How long nothing must move before what is missing counts as lost.',
  },
} as const;

export const backendOptions = {
  reply: {
    kind: 'choice',
    choices: ['inbox', 'shared'],
    default: 'inbox',
    help: 'Replies go to the queue that reply_to names, or to the shared queue.',
  },
  shuffle: {
    kind: 'count',
    default: 0,
    help: 'Replies are held until there are so many, and go in random order.',
  },
  drop: { kind: 'share', default: 0, help: 'Share of lines that the backend leaves unanswered.' },
  delay: { kind: 'duration', default: 0, help: 'Wait of the backend before each reply.' },
  duplicate: { kind: 'share', default: 0, help: 'Share of replies that the backend sends twice.' },
} as const;

export const outputOptions = {
  json: { kind: 'text', shape: 'FILE', help: 'Write the result there, for compare and plan.' },
  html: { kind: 'text', shape: 'FILE', help: 'Write a page with plots there.' },
} as const;

export type TargetOptions = Values<typeof targetOptions>;
export type DeviceOptions = Values<typeof deviceOptions>;
export type RetryOptions = Values<typeof retryOptions>;
export type LineOptions = Values<typeof lineOptions>;
export type BackendOptions = Values<typeof backendOptions>;

/** @throws UsageError */
export function hostAndPort(text: string): { host: string; port: number } {
  const [, host, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535)
    throw new UsageError(`--target: "${text}" is not possible; expected HOST:PORT`);
  return { host, port: Number(port) };
}

/** `KEY=VALUE` texts as an environment. @throws UsageError */
export function gatewaySettings(texts: readonly string[]): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const text of texts) {
    const [, key, value] = /^([A-Z_][A-Z0-9_]*)=(.*)$/s.exec(text) ?? [];
    if (key === undefined)
      throw new UsageError(
        `--gateway: "${text}" is not possible; expected KEY=VALUE with a key like OWSLA_WORKERS`,
      );
    settings[key] = value!;
  }
  return settings;
}

/** @throws UsageError */
export function processIds(texts: readonly string[]): number[] {
  return texts.map((text) => {
    if (!/^[1-9]\d*$/.test(text))
      throw new UsageError(`--pid: "${text}" is not possible; expected a process id`);
    return Number(text);
  });
}
