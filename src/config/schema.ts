import { z } from 'zod';
import { ackBody } from '../endpoint/device-ack.ts';
import { encodingProblem } from '../endpoint/framing.ts';
import { isNetwork } from '../util/networks.ts';
import { areTlsGroups } from '../util/tls-groups.ts';
import { parseDurationMs, parseSizeBytes } from './units.ts';

/**
 * The one description of the configuration. Validation, defaults, environment names, `--help` and
 * docs/configuration.md all come from here. A key's environment name is its path: `amqp.url` is `OWSLA_AMQP_URL`.
 */

/** What a key's metadata says beyond its type; every leaf has a description. */
export interface KeyMeta {
  description: string;
  /** What a value may be, in words; used in errors and in the reference. */
  expects: string;
  /** A rolling restart does not apply a change of this key: it belongs to the supervisor, or to the listener. */
  fixed?: boolean;
  /** May hold a password: masked wherever it is printed. */
  secret?: boolean;
}

const key = (meta: KeyMeta) => meta as KeyMeta & Record<string, unknown>;

const DURATION = 'a duration in milliseconds, or with a unit: 500ms, 30s, 5m, 1h';
const SIZE = 'a size in bytes, or with a unit: 512B, 64KiB, 1MiB';

/** `"30s"` → 30000; anything that is not text passes through to the number check. */
const durationMs = (fallback: number, description: string, min = 0) =>
  z
    .preprocess(
      (v) => (typeof v === 'string' ? (parseDurationMs(v) ?? v) : v),
      z
        .int()
        .min(min)
        .max(2 ** 31 - 1),
    )
    .default(fallback)
    .meta(key({ description, expects: min > 0 ? `${DURATION}; at least ${min} ms` : DURATION }));

const sizeBytes = (fallback: number, description: string, min = 1) =>
  z
    .preprocess((v) => (typeof v === 'string' ? (parseSizeBytes(v) ?? v) : v), z.int().min(min))
    .default(fallback)
    .meta(key({ description, expects: min > 1 ? `${SIZE}; at least ${min} bytes` : SIZE }));

/** Environment variables and flags arrive as text. */
const fromText = (v: unknown) => (typeof v === 'string' && /^-?\d+$/.test(v.trim()) ? Number(v) : v);

const count = (fallback: number, min: number, max: number, description: string) =>
  z
    .preprocess(fromText, z.int().min(min).max(max))
    .default(fallback)
    .meta(key({ description, expects: `a whole number from ${min} to ${max}` }));

const text = (fallback: string, description: string) =>
  z
    .string()
    .min(1)
    .default(fallback)
    .meta(key({ description, expects: 'a non-empty text' }));

const flag = (fallback: boolean, description: string) =>
  z
    .preprocess((v) => (v === 'true' ? true : v === 'false' ? false : v), z.boolean())
    .default(fallback)
    .meta(key({ description, expects: 'true or false' }));

const path = (description: string) =>
  z
    .string()
    .min(1)
    .optional()
    .meta(key({ description, expects: 'the path of a readable file' }));

const choice = <const T extends [string, ...string[]]>(values: T, fallback: T[number], description: string) =>
  z
    .enum(values)
    .default(fallback as never)
    .meta(key({ description, expects: `one of ${values.join(', ')}` }));

const port = (fallback: number, description: string) =>
  z
    .preprocess(fromText, z.int().min(0).max(65_535))
    .default(fallback)
    .meta(key({ description, expects: 'a port from 0 to 65535 (0: any free port)' }));

const fixed = <T extends z.ZodType>(schema: T): T => schema.meta({ ...schema.meta(), fixed: true });

const networks = (description: string) =>
  z
    .preprocess(
      (v) => (typeof v === 'string' ? v.split(',').map((part) => part.trim()) : v),
      z.array(z.string().refine(isNetwork)),
    )
    .default([])
    .meta(
      key({
        description,
        expects: 'networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas or given as a list',
      }),
    );

/** An `@` past the host means an unescaped `/`, `?` or `#` in the password: what parses as the host is not it. */
const amqpUrl = z.string().refine((v) => {
  if (!/^amqps?:\/\/./.test(v) || !URL.canParse(v)) return false;
  const { hostname, pathname, search, hash } = new URL(v);
  return hostname !== '' && !`${pathname}${search}${hash}`.includes('@');
});

const listen = z.strictObject({
  host: fixed(text('0.0.0.0', 'Address the device listener binds to.')),
  port: fixed(port(8883, 'Port of the device listener.')),
  backlog: fixed(
    count(
      256,
      1,
      65_535,
      'Length of the kernel queue of connections that wait to be accepted; capped by net.core.somaxconn. Keep it short: under overload the whole queue is the wait, and a long one holds only devices that have given up. Past it the kernel lets a device try again after a second.',
    ),
  ),
  reusePort: fixed(
    flag(
      true,
      'Each worker has a listening socket of its own (SO_REUSEPORT), and the kernel spreads new connections over them evenly. It takes Node 22.12 or later on Linux; elsewhere, and when off, the workers share one socket, and whoever is awake first takes what comes. Off also keeps a second gateway of the same user from sharing the port by mistake.',
    ),
  ),
  framing: choice(
    ['line', 'u8', 'u16', 'u32'],
    'line',
    'How the byte stream is cut into frames: lines ended by \\n, or a big-endian length prefix of 8, 16 or 32 bits.',
  ),
  maxFrameBytes: sizeBytes(
    65_536,
    'Largest frame from a device, without delimiter or prefix. A longer one ends the connection as frame_too_large. Not more than the max_message_size of the broker.',
  ),
  maxConnections: count(
    0,
    0,
    10_000_000,
    'Connections that one worker holds at most, handshakes included; past that a new socket is reset. Never more than its limit of open files allows; 0: as many as that.',
  ),
  acceptors: count(
    1024,
    1,
    100_000,
    'Handshake slots: TLS handshakes that one worker has in progress at most. It uses fewer while its event loop is late (admission.maxLoopDelayMs).',
  ),
  acceptQueue: count(
    16_384,
    0,
    1_000_000,
    'Sockets of one worker that may wait for a slot, full and resumed handshakes each; past that one is reset. Also how many may be silent, without a ClientHello, before the one that was so longest is reset.',
  ),
});

const admission = z.strictObject({
  enabled: flag(
    true,
    'Off: every handshake starts as it comes, whatever the machine can bear. For comparison only; fixed rates and limits per address hold all the same.',
  ),
  fullRate: count(
    0,
    0,
    1_000_000,
    'Full TLS handshakes that this machine starts per second, all workers together; up to one second of it at once. 0: no fixed limit, as many as the processors can bear.',
  ),
  resumedRate: count(
    0,
    0,
    1_000_000,
    'The same for handshakes that resume a session, which cost a good deal less. 0: no fixed limit.',
  ),
  maxWaitMs: durationMs(
    2_000,
    'A socket that has waited this long for its handshake is reset. Keep it below the time after which devices give a connection attempt up.',
    1,
  ),
  targetDelayMs: durationMs(
    100,
    'A wait in line that is no sign of overload. Once it was longer during a whole intervalMs, the newest socket is served first.',
    1,
  ),
  intervalMs: durationMs(500, 'How long the wait has to be above targetDelayMs to count as overload.', 1),
  maxLoopDelayMs: durationMs(
    20,
    'Mean delay of the event loop above which a worker takes back handshake slots, so that established devices do not wait.',
    1,
  ),
});

const address = z.strictObject({
  maxConnections: count(
    0,
    0,
    10_000_000,
    'Connections that one address (IPv4 address, or IPv6 /64) may hold on this machine, handshakes included. 0: no limit, because a mobile network puts thousands of devices behind one address.',
  ),
  connectRate: count(
    0,
    0,
    1_000_000,
    'New connections of one address per second on this machine. 0: no limit, for the same reason.',
  ),
  connectBurst: count(100, 1, 1_000_000, 'New connections of one address before connectRate counts.'),
  maxFailures: count(
    0,
    0,
    1_000_000,
    'Failed handshakes and connections shorter than flapMs before an address is shut out for a while. 0: never, because one broken device would shut out all behind the same address.',
  ),
  flapMs: durationMs(
    1_000,
    'A connection that ends sooner than this counts as a failure of its address. 0: none does.',
  ),
  forgiveMs: durationMs(600_000, "After this long half of an address's failures are forgiven.", 1),
  penaltyMs: durationMs(
    1_000,
    'How long the first failure past maxFailures shuts an address out; doubles with each further one.',
    1,
  ),
  maxPenaltyMs: durationMs(300_000, 'Longest time that an address is shut out for.', 1),
  exempt: networks('Networks that no limit of this section holds for.'),
  maxTracked: count(
    65_536,
    1,
    10_000_000,
    'Addresses that one worker remembers, at about 300 bytes each. Past that the one without connections that was idle longest is forgotten.',
  ),
});

const proxy = z.strictObject({
  trusted: networks(
    'Networks of the load balancers in front. If there are any, every connection must come from them and begin with a PROXY protocol header (version 1 or 2), and the address in it is the device; anybody else is reset. None: no such header.',
  ),
  headerTimeoutMs: durationMs(3_000, 'Deadline for that header, counted from the accept.', 1),
  maxHeaderBytes: sizeBytes(4_096, 'Largest header of version 2, with the TLVs, which are skipped.', 232),
});

const tls = z.strictObject({
  cert: path('Certificate chain of the gateway (PEM).'),
  key: path('Private key of the gateway (PEM).'),
  minVersion: choice(['TLSv1.2', 'TLSv1.3'], 'TLSv1.2', 'Oldest TLS version accepted.'),
  groups: z
    .string()
    .refine(areTlsGroups)
    .default('auto')
    .meta(
      key({
        description:
          'Groups for the key exchange, the preferred one first. auto: X25519MLKEM768 (Node 24 and later), X25519 and P-256, which cost least; a device that can do none of them is refused.',
        expects: 'auto, or names that OpenSSL knows, separated by colons: X25519:P-256:P-384',
      }),
    ),
  handshakeTimeoutMs: durationMs(
    10_000,
    'Absolute deadline for a handshake, counted from the accept; the socket is destroyed when it passes.',
    1,
  ),
  clientAuth: choice(
    ['none', 'optional', 'required'],
    'none',
    'Client certificates: not asked for, verified when offered, or demanded.',
  ),
  clientCa: path(
    'Certificate authorities that client certificates are verified against (PEM). Needed unless clientAuth is none.',
  ),
  identity: choice(
    ['cn', 'uri', 'dns'],
    'cn',
    'Which part of a verified client certificate is the device_id: subject common name, first URI or first DNS subject alternative name.',
  ),
  ticketSecret: z
    .string()
    .min(32)
    .optional()
    .meta(
      key({
        description:
          'Secret that the keys of TLS session tickets are derived from, anew each day (UTC). Give all instances the same one, and a device resumes its session at any of them. Without one (nor ticketSecretFile), the workers of an instance share one that is drawn at its start.',
        expects: 'at least 32 characters',
        secret: true,
      }),
    ),
  ticketSecretFile: path('File that holds the ticket secret, instead of ticketSecret.'),
  sessionLifetimeMs: durationMs(
    86_400_000,
    'How long a TLS session can be resumed, at most. Its key changes at midnight UTC, after which it cannot.',
    1_000,
  ),
});

const endpoint = z.strictObject({
  idleTimeoutMs: durationMs(
    1_800_000,
    'Close a connection that has sent no byte for this long, as idle_timeout. 0: never.',
  ),
  firstFrameTimeoutMs: durationMs(
    0,
    'Close a connection that has not completed its first frame this long after the handshake, as first_frame_timeout. 0: never.',
  ),
  maxAgeMs: durationMs(
    0,
    'Close a connection this long after its handshake, as max_age, whatever it does. Devices that come back spread over all workers and instances, those that were started later included. 0: never.',
  ),
  maxAgeJitter: count(
    20,
    0,
    100,
    'Each connection has an age of its own, which differs from maxAgeMs by at most so many percent: those that came together do not go together.',
  ),
  keepAliveMs: durationMs(
    60_000,
    'Idle time after which TCP keepalive probes start; a vanished peer is noticed about ten seconds later. 0: off.',
  ),
  pausedPeerCheckMs: durationMs(
    30_000,
    'How often connections whose reads are paused are looked up in the kernel, which alone knows that their peer is gone. One whose peer has vanished twice running is closed as peer_reset; one whose peer has closed its side is too once the worker is at nine tenths of maxConnections, and waits until then for what it sent to be read. 0: never. Linux only.',
  ),
  maxUnconfirmedFrames: count(
    256,
    1,
    1_000_000,
    "Frames of one connection that may await the broker's confirm before its reads pause.",
  ),
  maxUnconfirmedBytes: sizeBytes(
    1_048_576,
    "Bytes of one connection that may await the broker's confirm before its reads pause.",
  ),
  maxFramesPerSecond: count(
    1_000,
    0,
    1_000_000,
    'Frames a second of one connection; a second of them may come at once. Beyond that it is not read: whoever sends more waits. 0: no limit.',
  ),
  maxBytesPerSecond: sizeBytes(
    1_048_576,
    'Bytes a second of one connection, as maxFramesPerSecond; each frame counts as one or as its bytes, whichever is the larger share of its limit. 0: no limit.',
    0,
  ),
});

const reply = z.strictObject({
  gapTimeoutMs: durationMs(
    20_000,
    'How long later replies wait for a missing to_device_seq. Keep it above three broker heartbeats, or a consumer that died elsewhere makes gaps.',
    1,
  ),
  onGap: choice(
    ['skip', 'close'],
    'skip',
    'When the gap timeout passes: go on with the next reply, or close the connection as reply_gap.',
  ),
  maxBytes: sizeBytes(
    1_048_576,
    'Largest reply; a longer one goes to undelivered as bad_body. A consumer takes up to prefetch replies of any size into memory, and more within maxHeldBytes: max_message_size of the broker bounds what a backend can publish.',
  ),
  maxParked: count(
    128,
    1,
    100_000,
    'Early replies one connection may park; one more goes to undelivered as reorder_overflow.',
  ),
  maxParkedBytes: sizeBytes(
    1_048_576,
    'Bytes of early replies one connection may park, large headers included.',
  ),
  maxAhead: count(
    65_536,
    1,
    2 ** 31 - 1,
    'How far a to_device_seq may be ahead of the next one; further ahead is taken for garbage and goes to undelivered as reorder_overflow.',
  ),
  maxPending: count(
    1024,
    1,
    1_000_000,
    'Replies of one connection that may wait for its socket; past that, a device that takes nothing for a second is closed as slow_consumer.',
  ),
  maxPendingBytes: sizeBytes(4_194_304, 'The same in bytes.'),
  maxHeldBytes: sizeBytes(
    67_108_864,
    'Bytes of replies of one worker that devices may hold, parked or waiting for a socket, each counted with 1.5 KiB beyond its body, and with its headers where they are large; as much again may wait for the broker. Past that, those that hold most without getting on have to let go as soon as they hold up others.',
  ),
  writeTimeoutMs: durationMs(
    15_000,
    'A device that takes no byte of a waiting reply for this long is closed as slow_consumer.',
    1,
  ),
  forwardGraceMs: durationMs(
    5_000,
    'How long a reply for another node is offered again when its inbox does not exist, before it is undelivered as not_connected; twelve times as long to an inbox that refuses it, because it is full or has no leader.',
  ),
});

const ack = z.strictObject({
  enabled: flag(
    false,
    'Tell the device which of its frames the broker has confirmed, so that it can keep its own copy until then.',
  ),
  template: z
    .string()
    .refine((v) => v.includes('{seq}') && !/[\r\n]/.test(v))
    .default('ACK {seq}')
    .meta(
      key({
        description:
          'The frame that says so; {seq} stands for the sequence number up to which, from 0, all frames are confirmed.',
        expects: 'one line of text with {seq} in it',
      }),
    ),
  every: count(16, 1, 1_000_000, 'Send it at the latest after this many further frames were confirmed.'),
  intervalMs: durationMs(200, 'Send it at the latest this long after a frame was confirmed.', 1),
});

const amqp = z.strictObject({
  url: z
    .preprocess(
      (v) => (typeof v === 'string' ? v.split(',').map((part) => part.trim()) : v),
      z.array(amqpUrl).min(1),
    )
    .default(['amqp://guest:guest@127.0.0.1:5672'])
    .meta(
      key({
        description: 'Broker addresses, tried in turn. Several are separated by commas or given as a list.',
        expects: 'one or several amqp:// or amqps:// URLs',
        secret: true,
      }),
    ),
  ca: path("Certificate authorities that an amqps broker is verified against (PEM). Default: the system's."),
  cert: path('Client certificate shown to an amqps broker (PEM).'),
  key: path('Private key of that client certificate (PEM).'),
  heartbeatSeconds: count(
    5,
    1,
    600,
    'AMQP heartbeat interval in seconds. After two, a silent broker is given up, and a consumer that gets nothing opens a new channel.',
  ),
  connectTimeoutMs: durationMs(10_000, 'Deadline for one connection attempt, AMQP handshake included.', 1),
  reconnectMinMs: durationMs(
    200,
    'Upper bound of the first wait before reconnecting; doubles with each failure, full jitter.',
    1,
  ),
  reconnectMaxMs: durationMs(15_000, 'Largest upper bound of that wait.', 1),
  queueType: choice(['quorum', 'classic'], 'quorum', 'x-queue-type of every queue the gateway declares.'),
  fromDevice: text('from_device', 'Queue that device frames are published to.'),
  shards: count(
    1,
    1,
    256,
    'Queues that device frames are spread over. With more than one, their names are fromDevice with .0, .1, … behind it; a connection always uses the same one.',
  ),
  toDevice: text('to_device', 'Shared queue that replies are taken from.'),
  undelivered: text('undelivered', 'Queue for replies that could not be delivered, with a reason header.'),
  deadLetter: text(
    'from_device.dead_letter',
    'Queue for device frames that backends gave back deliveryLimit times.',
  ),
  events: text('owsla.events', 'Topic exchange for lifecycle events.'),
  inboxPrefix: text(
    'owsla.inbox.',
    "Start of the names of the nodes' inbox queues; the node id in hex follows.",
  ),
  inboxTtlMs: durationMs(
    60_000,
    'Replies that waited this long in the inbox of a node that is gone move to the undelivered queue.',
    1,
  ),
  inboxExpiresMs: durationMs(
    86_400_000,
    'The inbox of a node that is gone is deleted after this long; must be longer than inboxTtlMs. A reply sent there within the last inboxTtlMs before that is deleted with it: keep it far longer than any backend takes to answer.',
    1,
  ),
  deliveryLimit: count(
    20,
    1,
    1_000_000,
    'x-delivery-limit of quorum queues: deliveries of one message before it is dead-lettered.',
  ),
  windowMessages: count(
    8192,
    1,
    1_000_000,
    "Device frames of one worker that may await the broker's confirm. A quorum queue needs some thousands for full speed.",
  ),
  windowBytes: sizeBytes(
    33_554_432,
    "Bytes of device frames of one worker that may await the broker's confirm. While as much was left by connections that have closed meanwhile, with some 6 KiB counted for each, newcomers are refused (broker_backlog).",
  ),
  consumers: count(8, 1, 256, 'Consumer channels on the shared reply queue.'),
  prefetch: count(
    256,
    1,
    65_535,
    'Unacknowledged replies per consumer. What slow devices hold of them is set aside and does not count (reply.maxHeldBytes).',
  ),
});

const shutdown = z.strictObject({
  notReadyMs: durationMs(
    0,
    'On SIGTERM: how long to answer not ready before the listener closes, so that a load balancer notices.',
  ),
  closeRate: count(2000, 1, 1_000_000, 'Connections that one worker closes per second while it drains.'),
  timeoutMs: durationMs(
    30_000,
    'Deadline for the whole shutdown of a worker; what is unconfirmed then is counted, logged, and makes the exit code non-zero.',
    1,
  ),
});

const restart = z.strictObject({
  maxRestarts: fixed(
    count(10, 0, 10_000, 'Worker crashes tolerated within windowMs; one more and the supervisor gives up.'),
  ),
  windowMs: fixed(durationMs(60_000, 'Period that maxRestarts counts over.', 1)),
  backoffMinMs: fixed(
    durationMs(
      100,
      'Upper bound of the wait before the first restart of a crashed worker; doubles with each crash in the period, full jitter.',
      1,
    ),
  ),
  backoffMaxMs: fixed(durationMs(10_000, 'Largest upper bound of that wait.', 1)),
  readyTimeoutMs: durationMs(
    60_000,
    'How long a worker that is to replace another in a rolling restart may take until it is ready. Past that the restart is given up, and the old workers stay.',
    1,
  ),
});

const admin = z.strictObject({
  host: fixed(text('127.0.0.1', 'Address of the admin server (/livez, /readyz, /metrics).')),
  port: fixed(port(9464, 'Port of the admin server.')),
});

const readiness = z.strictObject({
  intervalMs: durationMs(3_000, 'Pause between two broker round trips that readiness stands on.', 1),
  timeoutMs: durationMs(2_000, 'A broker round trip that takes longer makes the worker not ready.', 1),
});

const log = z.strictObject({
  level: choice(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Least severe log level written.',
  ),
});

export const configSchema = z
  .strictObject({
    workers: fixed(count(0, 0, 1024, 'Gateway processes on this machine. 0: one per core.')),
    listen: listen.prefault({}),
    admission: admission.prefault({}),
    address: address.prefault({}),
    proxy: proxy.prefault({}),
    tls: tls.prefault({}),
    endpoint: endpoint.prefault({}),
    reply: reply.prefault({}),
    ack: ack.prefault({}),
    amqp: amqp.prefault({}),
    shutdown: shutdown.prefault({}),
    restart: restart.prefault({}),
    admin: admin.prefault({}),
    readiness: readiness.prefault({}),
    log: log.prefault({}),
  })
  .superRefine((config, context) => {
    const wrong = (path: string[], expected: string) =>
      context.addIssue({ code: 'custom', path, message: expected });
    if (config.tls.clientAuth !== 'none' && config.tls.clientCa === undefined) {
      wrong(['tls', 'clientCa'], `the path of a CA file, because tls.clientAuth is ${config.tls.clientAuth}`);
    }
    if (config.tls.ticketSecret !== undefined && config.tls.ticketSecretFile !== undefined) {
      wrong(['tls', 'ticketSecretFile'], 'no value, because tls.ticketSecret is given');
    }
    if (config.address.penaltyMs > config.address.maxPenaltyMs) {
      wrong(['address', 'penaltyMs'], `at most address.maxPenaltyMs (${config.address.maxPenaltyMs})`);
    }
    if ((config.amqp.cert === undefined) !== (config.amqp.key === undefined)) {
      wrong(
        ['amqp', config.amqp.cert === undefined ? 'cert' : 'key'],
        'amqp.cert and amqp.key to be given together',
      );
    }
    if (config.amqp.inboxTtlMs >= config.amqp.inboxExpiresMs) {
      wrong(
        ['amqp', 'inboxTtlMs'],
        `less than amqp.inboxExpiresMs (${config.amqp.inboxExpiresMs}), because an expiring queue does not dead-letter`,
      );
    }
    if (config.amqp.reconnectMinMs > config.amqp.reconnectMaxMs) {
      wrong(['amqp', 'reconnectMinMs'], `at most amqp.reconnectMaxMs (${config.amqp.reconnectMaxMs})`);
    }
    if (config.restart.backoffMinMs > config.restart.backoffMaxMs) {
      wrong(['restart', 'backoffMinMs'], `at most restart.backoffMaxMs (${config.restart.backoffMaxMs})`);
    }
    const { framing } = config.listen;
    const longestAck = ackBody(config.ack.template, Number.MAX_SAFE_INTEGER);
    if (encodingProblem(framing, longestAck) !== undefined) {
      wrong(
        ['ack', 'template'],
        `a text that is one frame with listen.framing ${framing}, whatever the number: it makes up to ${longestAck.length} bytes`,
      );
    }
    const queues = ['fromDevice', 'toDevice', 'undelivered', 'deadLetter'] as const;
    for (const [index, name] of queues.entries()) {
      const twin = queues.slice(0, index).find((other) => config.amqp[other] === config.amqp[name]);
      if (twin !== undefined) wrong(['amqp', name], `a queue of its own; amqp.${twin} has the same name`);
    }
    if (config.endpoint.maxUnconfirmedBytes > config.amqp.windowBytes) {
      wrong(['endpoint', 'maxUnconfirmedBytes'], `at most amqp.windowBytes (${config.amqp.windowBytes})`);
    }
    if (config.listen.maxFrameBytes > config.amqp.windowBytes) {
      wrong(
        ['listen', 'maxFrameBytes'],
        `at most amqp.windowBytes (${config.amqp.windowBytes}), or no such frame could be published`,
      );
    }
  });

export type Config = z.output<typeof configSchema>;

/** Every default; a production start also needs `tls.cert`, `tls.key` and a real `amqp.url`. */
export function defaultConfig(): Config {
  return configSchema.parse({});
}
