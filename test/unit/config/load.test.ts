import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../../src/config/config-error.ts';
import { CONFIG_KEYS } from '../../../src/config/keys.ts';
import { type LoadOptions, loadConfig } from '../../../src/config/load.ts';
import { defaultConfig } from '../../../src/config/schema.ts';

function load({ argv = [], env = {}, yaml }: { argv?: string[]; env?: LoadOptions['env']; yaml?: string }) {
  const file = yaml === undefined ? [] : ['--config', '/etc/owsla/owsla.yaml'];
  return loadConfig({ argv: [...file, ...argv], env, readFile: () => yaml! });
}

/** The problems that loading reports, one line each. */
function problemsOf(given: Parameters<typeof load>[0]): readonly string[] {
  try {
    load(given);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.exitCode).toBe(78);
    expect(error.code).toBe('config_invalid');
    expect(error.message).toBe(error.problems.join('\n'));
    for (const problem of error.problems) expect(problem).not.toContain('\n');
    return error.problems;
  }
  throw new Error('expected a ConfigError');
}

describe('sources', () => {
  it('give the defaults when nothing is set', () => {
    const { config, sources, file } = load({});
    expect(config).toEqual(defaultConfig());
    expect(file).toBeUndefined();
    expect(sources).toEqual(Object.fromEntries(CONFIG_KEYS.map((key) => [key.path, 'default'])));
  });

  it('override one another: file < environment < flags', () => {
    const { config, sources, file } = load({
      yaml: 'workers: 1\nlisten:\n  port: 1\n  host: file\n  backlog: 7',
      env: { OWSLA_LISTEN_PORT: '2', OWSLA_LISTEN_HOST: 'env', PATH: '/bin' },
      argv: ['start', '--listen.port=3'],
    });
    expect(config.listen).toMatchObject({ port: 3, host: 'env', backlog: 7 });
    expect(sources).toMatchObject({
      workers: 'file',
      'listen.port': 'flag',
      'listen.host': 'env',
      'listen.backlog': 'file',
      'listen.framing': 'default',
    });
    expect(file).toBe('/etc/owsla/owsla.yaml');
  });

  it('take a flag as --key=value and as --key value, the last one winning', () => {
    expect(load({ argv: ['--workers', '3', '--log.level=warn'] }).config).toMatchObject({
      workers: 3,
      log: { level: 'warn' },
    });
    expect(load({ argv: ['--workers=3', '--workers=4'] }).config.workers).toBe(4);
    expect(load({ argv: ['--amqp.events=a=b'] }).config.amqp.events).toBe('a=b');
  });

  it('take the file from OWSLA_CONFIG, and from --config rather', () => {
    const read: string[] = [];
    const readFile = (path: string) => {
      read.push(path);
      return '';
    };
    loadConfig({ argv: [], env: { OWSLA_CONFIG: 'a.yaml' }, readFile });
    loadConfig({ argv: ['--config=b.yaml'], env: { OWSLA_CONFIG: 'a.yaml' }, readFile });
    expect(read).toEqual(['a.yaml', 'b.yaml']);
  });

  it('take units and lists as text everywhere', () => {
    const { config } = load({
      yaml: 'reply: { gapTimeoutMs: 25s }\namqp: { url: [amqp://a, amqps://b] }',
      env: { OWSLA_LISTEN_MAX_FRAME_BYTES: '16KiB' },
      argv: ['--shutdown.timeoutMs', '1m'],
    });
    expect(config.reply.gapTimeoutMs).toBe(25_000);
    expect(config.amqp.url).toEqual(['amqp://a', 'amqps://b']);
    expect(config.listen.maxFrameBytes).toBe(16_384);
    expect(config.shutdown.timeoutMs).toBe(60_000);
    expect(load({ env: { OWSLA_AMQP_URL: 'amqp://a, amqp://b' } }).config.amqp.url).toHaveLength(2);
  });

  it.each(['', '# nothing', 'listen:', 'listen: {}', 'listen:\n  # port: 1'])(
    'accept the empty file %j',
    (yaml) => {
      expect(load({ yaml }).config).toEqual(defaultConfig());
    },
  );

  it('follow aliases in the file', () => {
    expect(load({ yaml: 'admin: &a { port: 5 }\nlisten: *a' }).config.listen.port).toBe(5);
  });
});

describe('an unknown key', () => {
  it.each([
    [{ yaml: 'listen:\n  prot: 1' }, 'listen.prot (owsla.yaml:2): unknown key; did you mean listen.port?'],
    [{ yaml: 'listne:\n  port: 1' }, 'listne (owsla.yaml:1): unknown key; did you mean listen?'],
    [{ yaml: 'queueType: classic' }, 'queueType (owsla.yaml:1): unknown key; did you mean amqp.queueType?'],
    [
      { yaml: 'amqp.queueType: classic' },
      'amqp.queueType (owsla.yaml:1): unknown key; write it as the section "amqp:" with "queueType:" indented below',
    ],
    [{ yaml: 'frobnicate: 1' }, 'frobnicate (owsla.yaml:1): unknown key; "owsla --help" lists every key'],
    [
      { yaml: '__proto__: { workers: 1 }' },
      '__proto__ (owsla.yaml:1): unknown key; "owsla --help" lists every key',
    ],
    [
      { env: { OWSLA_LISTEN_PROT: '1' } },
      'OWSLA_LISTEN_PROT (environment): unknown key; did you mean OWSLA_LISTEN_PORT?',
    ],
    [{ env: { OWSLA_CONFG: 'x' } }, 'OWSLA_CONFG (environment): unknown key; did you mean OWSLA_CONFIG?'],
    [{ env: { OWSLA_FOO: 'x' } }, 'OWSLA_FOO (environment): unknown key; "owsla --help" lists every key'],
    [
      { argv: ['--amqp-queue-type=classic'] },
      '--amqp-queue-type (command line): unknown key; did you mean --amqp.queueType?',
    ],
    [{ argv: ['--confg', 'x'] }, '--confg (command line): unknown key; did you mean --config?'],
  ])('is reported with the nearest one: %j', (given, line) => {
    expect(problemsOf(given)).toEqual([line]);
  });

  it.each([
    ['OWSLA_SERVICE_HOST', '10.0.0.1'],
    ['OWSLA_PORT', 'tcp://10.0.0.1:8883'],
    ['OWSLA_PORT_8883_TCP_ADDR', '10.0.0.1'],
    ['OWSLA_ADMIN_PORT', 'tcp://10.0.0.1:9464'],
  ])('from a Kubernetes Service is recognised: %s', (name, value) => {
    expect(problemsOf({ env: { [name]: value } })).toEqual([
      `${name} (environment): not a value for this gateway; this looks like a Kubernetes service link: set enableServiceLinks: false in the pod spec`,
    ]);
  });
});

describe('a bad value', () => {
  const duration = 'a duration in milliseconds, or with a unit: 500ms, 30s, 5m, 1h';
  it.each([
    [
      { env: { OWSLA_LISTEN_PORT: '70000' } },
      'listen.port = "70000" (OWSLA_LISTEN_PORT): expected a port from 0 to 65535 (0: any free port)',
    ],
    [
      { yaml: 'listen:\n  port: abc' },
      'listen.port = "abc" (owsla.yaml:2): expected a port from 0 to 65535 (0: any free port)',
    ],
    [{ argv: ['--workers=1.5'] }, 'workers = "1.5" (--workers): expected a whole number from 0 to 1024'],
    [{ argv: ['--workers', '-1'] }, 'workers = "-1" (--workers): expected a whole number from 0 to 1024'],
    [{ env: { OWSLA_WORKERS: '' } }, 'workers = "" (OWSLA_WORKERS): expected a whole number from 0 to 1024'],
    [
      { yaml: 'workers: { a: 1 }' },
      'workers = {"a":1} (owsla.yaml:1): expected a whole number from 0 to 1024',
    ],
    [
      { argv: ['--endpoint.idleTimeoutMs=30sec'] },
      `endpoint.idleTimeoutMs = "30sec" (--endpoint.idleTimeoutMs): expected ${duration}`,
    ],
    [
      { argv: ['--endpoint.idleTimeoutMs=30d'] },
      `endpoint.idleTimeoutMs = "30d" (--endpoint.idleTimeoutMs): expected ${duration}; at most 2147483647`,
    ],
    [
      { env: { OWSLA_LISTEN_MAX_FRAME_BYTES: '64 kilo' } },
      'listen.maxFrameBytes = "64 kilo" (OWSLA_LISTEN_MAX_FRAME_BYTES): expected a size in bytes, or with a unit: 512B, 64KiB, 1MiB',
    ],
    [
      { argv: ['--log.level=loud'] },
      'log.level = "loud" (--log.level): expected one of trace, debug, info, warn, error, fatal, silent',
    ],
    [
      { env: { OWSLA_AMQP_URL: 'amqp://u:p@h1,http://u:p@h2' } },
      'amqp.url = "amqp://***" (OWSLA_AMQP_URL): expected one or several amqp:// or amqps:// URLs; item 2 is not',
    ],
    [
      { env: { OWSLA_AMQP_URL: 'amqp://u:1/2@h' } },
      'amqp.url = "amqp://***" (OWSLA_AMQP_URL): expected one or several amqp:// or amqps:// URLs; item 1 is not',
    ],
    [
      { yaml: 'amqp:\n  url: { a: secret }' },
      'amqp.url = "***" (owsla.yaml:2): expected one or several amqp:// or amqps:// URLs',
    ],
    [
      { argv: ['--log.level', '--workers=1'] },
      '--log.level (command line): has no value; expected one of trace, debug, info, warn, error, fatal, silent, as in --log.level=VALUE',
    ],
    [
      { argv: ['--config'] },
      '--config (command line): has no value; expected the path of a YAML file, as in --config=VALUE',
    ],
    [{ argv: ['--json=1'] }, '--json (command line): takes no value'],
    [
      { yaml: 'tls:\n  cert:\n' },
      'tls.cert (owsla.yaml:2): has no value; expected the path of a readable file',
    ],
  ])('is reported with key, place, value and expectation: %j', (given, line) => {
    expect(problemsOf(given)).toEqual([line]);
  });

  it('stays on one line and within reason', () => {
    const [line] = problemsOf({ env: { OWSLA_LOG_LEVEL: `a\nb${'x'.repeat(1000)}` } });
    expect(line).toContain('"a\\nb');
    expect(line!.length).toBeLessThan(300);
  });

  it('is reported also where a stronger source overrides it', () => {
    expect(problemsOf({ yaml: 'workers: x', argv: ['--workers=1'] })).toHaveLength(1);
  });
});

describe('a rule between keys', () => {
  it.each([
    [
      { argv: ['--tls.clientAuth=required'] },
      'tls.clientCa: not given; expected the path of a CA file, because tls.clientAuth is required',
    ],
    [
      { argv: ['--amqp.cert=c'] },
      'amqp.key: not given; expected amqp.cert and amqp.key to be given together',
    ],
    [
      { yaml: 'amqp:\n  inboxTtlMs: 36h' },
      'amqp.inboxTtlMs = "36h" (owsla.yaml:2): expected less than amqp.inboxExpiresMs (86400000), because an expiring queue does not dead-letter',
    ],
    [
      { argv: ['--amqp.windowBytes=512KiB'] },
      'endpoint.maxUnconfirmedBytes = 1048576 (default): expected at most amqp.windowBytes (524288)',
    ],
    [
      { yaml: `listen: { framing: u8 }\nack: { template: "${'{seq} '.repeat(15)}." }` },
      expect.stringMatching(
        /^ack\.template = .* \(owsla\.yaml:2\): expected a text that is one frame with listen\.framing u8, whatever the number: it makes up to 256 bytes$/,
      ),
    ],
  ])('that is broken is reported: %j', (given, line) => {
    expect(problemsOf(given)).toEqual([line]);
  });

  it('is judged besides problems with other keys', () => {
    expect(problemsOf({ argv: ['--tls.clientAuth=required', '--workers=x'] })).toHaveLength(2);
  });

  it('is not judged by the default of a key whose value is wrong', () => {
    const problems = problemsOf({ argv: ['--amqp.inboxTtlMs=2h', '--amqp.inboxExpiresMs=4x'] });
    expect(problems).toEqual([expect.stringMatching(/^amqp.inboxExpiresMs = "4x"/)]);
  });
});

describe('a configuration file', () => {
  it('that cannot be read is named', () => {
    const missing = { argv: ['--config=/nonexistent/owsla.yaml'], env: {} };
    expect(() => loadConfig(missing)).toThrow(
      '--config = "/nonexistent/owsla.yaml": expected the path of a readable YAML file; it cannot be read (ENOENT)',
    );
    expect(() => loadConfig({ argv: [], env: { OWSLA_CONFIG: '/' } })).toThrow(
      'OWSLA_CONFIG = "/": expected the path of a readable YAML file; it cannot be read (EISDIR)',
    );
  });

  it.each([
    [
      'a: [1',
      'owsla.yaml:1: not valid YAML: Flow sequence in block collection must be sufficiently indented',
    ],
    ['workers: 1\nworkers: 2', 'owsla.yaml:2: not valid YAML: Map keys must be unique'],
    ['listen:\n\tport: 1', 'owsla.yaml:2: not valid YAML: Tabs are not allowed as indentation'],
    ['workers: 1\n---\nworkers: 2', 'owsla.yaml:2: not valid YAML: Source contains multiple documents'],
    ['workers: !!nope 1', 'owsla.yaml:1: not valid YAML: Unresolved tag'],
    ['workers: !secret! 1', 'owsla.yaml:1: not valid YAML: Unresolved tag'],
    ['workers: !<secret 1', 'owsla.yaml:1: not valid YAML: Unresolved tag'],
    ['workers: "\\xsecret"', 'owsla.yaml:1: not valid YAML: Invalid escape sequence'],
    ['%secret\n---\nworkers: 1', 'owsla.yaml:1: not valid YAML: Directive not understood'],
    ['workers: *nope', 'owsla.yaml: not valid YAML: Unresolved alias'],
    ['- 1', 'owsla.yaml: expected a mapping of sections such as "listen:", not a list'],
    ['text', 'owsla.yaml: expected a mapping of sections such as "listen:", not a text'],
    [
      'amqp:\n  url:amqp://u:p@h',
      'amqp (owsla.yaml:1): expected a section of keys, each on its own indented line as "name: value", not a text',
    ],
  ])('that is wrong is reported with its line: %j', (yaml, start) => {
    const problems = problemsOf({ yaml });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(start);
  });
});

it('reports all problems of all sources at once', () => {
  const problems = problemsOf({
    yaml: 'listen:\n  prot: 1\n  port: x\nfoo: 1',
    env: { OWSLA_BAR: '1', OWSLA_AMQP_PREFETCH: '0' },
    argv: ['--baz=1', '--workers=many'],
  });
  expect(problems.map((line) => line.split(' ', 1)[0])).toEqual([
    'listen.prot',
    'foo',
    'OWSLA_BAR',
    '--baz',
    'listen.port',
    'amqp.prefetch',
    'workers',
  ]);
});
