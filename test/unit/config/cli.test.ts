import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, issueServerCertificate } from '../../../src/dev/certificates.ts';

const ROOT = join(import.meta.dirname, '../../..');

let folder: string;
let files: readonly string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'owsla-cli-'));
  const { cert, key } = await issueServerCertificate(await createAuthority());
  writeFileSync(join(folder, 'cert.pem'), cert);
  writeFileSync(join(folder, 'key.pem'), key);
  files = [`--tls.cert=${join(folder, 'cert.pem')}`, `--tls.key=${join(folder, 'key.pem')}`];
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = (args: readonly string[]) => ['--import', 'tsx', 'src/main.ts', ...args];

function environment(env: Record<string, string>): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('OWSLA_'));
  return { ...Object.fromEntries(inherited), ...env };
}

function owsla(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, program(args), {
    cwd: ROOT,
    env: environment(env),
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('owsla', () => {
  it('config check says ok and exits with 0', () => {
    const env = { OWSLA_AMQP_URL: 'amqp://u:p@h' };
    expect(owsla(['config', 'check', ...files], env)).toEqual({
      status: 0,
      stdout: 'configuration ok\n',
      stderr: '',
    });
  });

  it('config check names one problem on one line and exits with 78', () => {
    expect(owsla(['config', 'check'], { OWSLA_LISTEN_PORT: 'abc' })).toEqual({
      status: 78,
      stdout: '',
      stderr:
        'owsla: listen.port = "abc" (OWSLA_LISTEN_PORT): expected a port from 0 to 65535 (0: any free port)\n',
    });
  });

  it('config check reads the named files', () => {
    const { status, stderr } = owsla(['config', 'check', '--tls.cert=/nonexistent']);
    expect(status).toBe(78);
    expect(stderr).toMatch(/^owsla: tls\.cert = "\/nonexistent" \(--tls\.cert\): expected .*ENOENT\)\n$/);
  });

  it('config check warns of what a start would miss', () => {
    const { status, stdout, stderr } = owsla(['config', 'check', ...files]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'configuration ok\n' });
    expect(stderr).toMatch(/^owsla: warning: "owsla start" would refuse: amqp\.url is missing: .*\n$/);
  });

  it('config print masks the broker password', () => {
    const { status, stdout } = owsla(['config', 'print', '--json'], { OWSLA_AMQP_URL: 'amqp://u:hidden@h' });
    expect(status).toBe(0);
    expect(JSON.parse(stdout).keys['amqp.url']).toMatchObject({ value: ['amqp://u:***@h'], source: 'env' });
  });

  it('start without broker and certificate exits with 78 and points to npm start', () => {
    const { status, stdout, stderr } = owsla(['start']);
    expect({ status, stdout }).toEqual({ status: 78, stdout: '' });
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringContaining('OWSLA_AMQP_URL or --amqp.url'),
      expect.stringContaining('OWSLA_TLS_CERT or --tls.cert'),
      expect.stringContaining('OWSLA_TLS_KEY or --tls.key'),
      expect.stringContaining('npm start'),
    ]);
  });

  it.each([
    [['confg'], 'unknown command "confg"; expected one of start, config check, config print, help'],
    [['config'], 'unknown command "config"; expected one of start, config check, config print, help'],
    [
      ['start', 'now'],
      'unknown command "start now"; expected one of start, config check, config print, help',
    ],
    [
      ['start', 'amqp://u:p@h'],
      'unknown command "start amqp…"; expected one of start, config check, config print, help',
    ],
    [['help', 'nope'], 'unknown command "nope"; expected one of start, config check, config print, help'],
    [[], 'no command; expected one of start, config check, config print, help'],
    [['start', '--json'], '--json goes with "config print" only'],
  ])('%j is a wrong command line: one line, exit code 64', (args, line) => {
    expect(owsla(args)).toEqual({ status: 64, stdout: '', stderr: `owsla: ${line}\n` });
  });

  it('prints help and version', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(owsla(['--version'])).toEqual({ status: 0, stdout: `owsla ${version}\n`, stderr: '' });
    expect(owsla(['--help']).stdout).toContain('--amqp.queueType\n');
    expect(owsla(['help', 'start']).stdout).toMatch(/^Usage: owsla start /);
    expect(owsla(['start', '--help']).stdout).toMatch(/^Usage: owsla start /);
  });
});

it('a certificate that is about to expire ends no gateway whose warnings nobody reads any more', async () => {
  const notAfter = new Date(Date.now() + 86_400_000);
  const { cert, key } = await issueServerCertificate(await createAuthority(), { notAfter });
  const paths = { cert: join(folder, 'expiring.pem'), key: join(folder, 'expiring-key.pem') };
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key);
  const args = ['start', `--tls.cert=${paths.cert}`, `--tls.key=${paths.key}`, '--workers=1'];
  const env = {
    // Nobody listens there; what is asked here comes before the broker.
    OWSLA_AMQP_URL: 'amqp://127.0.0.1:1',
    OWSLA_LISTEN_PORT: '0',
    OWSLA_ADMIN_HOST: '127.0.0.1',
    OWSLA_ADMIN_PORT: '0',
    OWSLA_SHUTDOWN_NOT_READY_MS: '0',
  };
  const child = spawn(process.execPath, program(args), {
    cwd: ROOT,
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  try {
    const exited = once(child, 'exit');
    expect(String(await once(child.stderr, 'data'))).toContain('expires in 0 days');
    child.stderr.destroy();
    const logged: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      const { msg } = JSON.parse(line);
      logged.push(msg);
      if (msg === 'starting') child.kill('SIGHUP');
      if (msg === 'rolling restart') child.kill('SIGTERM');
    }
    expect(logged).toContain('rolling restart');
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
  }
});

it('the gateway reads its environment in src/main.ts alone', () => {
  // src/dev is the development set-up, a program of its own.
  const { stdout } = spawnSync('grep', ['-rlE', 'process\\.env|process\\[', 'src', '--exclude-dir=dev'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(stdout.trim().split('\n')).toEqual(['src/main.ts']);
});
