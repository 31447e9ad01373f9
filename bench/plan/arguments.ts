import { parseArgs } from 'node:util';
import type { Capacity, Fleet } from './model.ts';

export const USAGE = `usage: bench plan --devices N --rate LINES/S [--results FILE…] [options]

How many gateway processes and machines, broker nodes and from_device shards a fleet needs, what saturates first,
and how long it takes until all devices are back. The unit costs come from result files of earlier runs (--json);
what none of them has is assumed, and said to be.

  --devices N             connected devices
  --rate N                lines a second from all devices together
  --results FILE…         results to take unit costs from, the later the stronger
  --replies N             replies for each line (default: 1)
  --shared-replies SHARE  share of replies sent to the shared queue, not to an inbox, 0 to 1 (default: 0)
  --churn N               new connections a second in ordinary operation (default: each device once an hour)
  --resume SHARE          share of handshakes that resume a session, 0 to 1 (default: 0)
  --reconnect-rate N      the most connections a second that are offered when all reconnect (default: no limit)
  --cores N               cores of a gateway machine (default: 8)
  --memory GIB            memory of a gateway machine (default: 16)
  --descriptors N         descriptors that a gateway process may have (default: 20000)
  --broker-cores N        cores of a broker node (default: 8)
  --replicas N            copies of each queue: 3 or 5 for quorum queues, 1 for classic ones (default: 3)
  --markdown              print Markdown; without --devices and --rate for 40,000, 1 million and 10 million
                          devices that send a line a minute, and a line every ten seconds

Exit status: 0 good, 64 bad usage.
`;

const OPTIONS = {
  devices: { type: 'string' },
  rate: { type: 'string' },
  results: { type: 'string', multiple: true },
  replies: { type: 'string', default: '1' },
  'shared-replies': { type: 'string', default: '0' },
  churn: { type: 'string' },
  resume: { type: 'string', default: '0' },
  'reconnect-rate': { type: 'string' },
  cores: { type: 'string', default: '8' },
  memory: { type: 'string', default: '16' },
  descriptors: { type: 'string', default: '20000' },
  'broker-cores': { type: 'string', default: '8' },
  replicas: { type: 'string', default: '3' },
  markdown: { type: 'boolean', default: false },
} as const;

export interface PlanArguments {
  readonly fleets: readonly Fleet[];
  readonly capacity: Capacity;
  readonly resultFiles: readonly string[];
  readonly isMarkdown: boolean;
}

const STANDARD_DEVICES = [40_000, 1_000_000, 10_000_000];
const STANDARD_INTERVALS_S = [60, 10];
const GIB = 2 ** 30;
const HOUR_S = 3600;

/** @throws Error with one line that names the option and what was expected */
export function parsePlanArguments(args: string[]): PlanArguments {
  const { values, positionals } = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  const resultFiles = [...(values.results ?? []), ...positionals];
  if (positionals.length > 0 && values.results === undefined) {
    throw new Error(`unexpected ${positionals[0]}; result files come after --results`);
  }

  const fleetOf = (devices: number, linesPerS: number): Fleet => ({
    devices,
    linesPerS,
    repliesPerLine: number('replies', values.replies, NOT_NEGATIVE),
    churnPerS: values.churn === undefined ? devices / HOUR_S : number('churn', values.churn, NOT_NEGATIVE),
    resumedShare: number('resume', values.resume, SHARE),
    sharedReplyShare: number('shared-replies', values['shared-replies'], SHARE),
    reconnectPerS:
      values['reconnect-rate'] === undefined
        ? Number.POSITIVE_INFINITY
        : number('reconnect-rate', values['reconnect-rate'], POSITIVE),
  });

  return {
    fleets: sizes(values).map(([devices, linesPerS]) => fleetOf(devices, linesPerS)),
    capacity: {
      descriptors: number('descriptors', values.descriptors, COUNT),
      machineCores: number('cores', values.cores, COUNT),
      machineBytes: number('memory', values.memory, POSITIVE) * GIB,
      brokerCores: number('broker-cores', values['broker-cores'], COUNT),
      replicas: number('replicas', values.replicas, COUNT),
    },
    resultFiles,
    isMarkdown: values.markdown,
  };
}

/** Devices and lines a second. */
function sizes(values: { devices?: string; rate?: string; markdown: boolean }): [number, number][] {
  if (values.markdown && values.devices === undefined && values.rate === undefined) {
    return STANDARD_INTERVALS_S.flatMap((intervalS) =>
      STANDARD_DEVICES.map((devices): [number, number] => [devices, devices / intervalS]),
    );
  }
  if (values.devices === undefined) throw new Error('--devices is missing');
  if (values.rate === undefined) throw new Error('--rate is missing');
  return [[number('devices', values.devices, COUNT), number('rate', values.rate, NOT_NEGATIVE)]];
}

interface Expectation {
  readonly text: string;
  readonly holds: (value: number) => boolean;
}

const COUNT: Expectation = {
  text: 'a whole number from 1',
  holds: (value) => Number.isSafeInteger(value) && value >= 1,
};
const POSITIVE: Expectation = { text: 'a number above 0', holds: (value) => value > 0 };
const NOT_NEGATIVE: Expectation = { text: 'a number from 0', holds: (value) => value >= 0 };
const SHARE: Expectation = { text: 'a share from 0 to 1', holds: (value) => value >= 0 && value <= 1 };

function number(option: string, text: string, { text: expected, holds }: Expectation): number {
  const value = text.trim() === '' ? Number.NaN : Number(text.replaceAll(/[_,]/g, ''));
  if (!Number.isFinite(value) || !holds(value)) {
    throw new Error(`--${option}: expected ${expected}, got ${text}`);
  }
  return value;
}
