import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, inject, test } from 'vitest';
import type { BenchResult } from '../../bench/report/result.ts';
import { within } from '../helpers/eventually.ts';
import { namesEnvironment, uniqueNames } from '../helpers/names.ts';
import { processesLeft, processesMentioning } from '../helpers/processes.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const dir = mkdtempSync(join(tmpdir(), 'owsla-test-bench-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Few devices and short times: this is about the harness, and about nothing being lost, never about speed. */
const TRAFFIC = ['--devices', '10', '--warmup', '0.2', '--drain', '20'];

function bench(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs a scenario to its end, on the broker of the test run with queues of its own. */
async function run(scenario: string, ...args: string[]): Promise<BenchResult> {
  return await runAsIs(scenario, ...sharedBroker(), ...args);
}

function sharedBroker(): string[] {
  const names = namesEnvironment(uniqueNames());
  const settings = Object.entries(names).flatMap(([key, value]) => ['--gateway', `${key}=${value}`]);
  return ['--amqp-url', inject('amqpUrl'), '--workers', '2', ...settings];
}

async function runAsIs(scenario: string, ...args: string[]): Promise<BenchResult> {
  const result = await outcome(scenario, ...args);
  // On a busy machine the harness may be late, or the gateway, and the result says so.
  expect(result.problems.filter((problem) => !/^(harness|overload): /.test(problem))).toEqual([]);
  return result;
}

async function outcome(scenario: string, ...args: string[]): Promise<BenchResult> {
  const json = join(dir, `${scenario}-${randomUUID()}.json`);
  const child = bench([scenario, '--json', json, ...args]);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk) => (output += String(chunk)));
  const [code] = await once(child, 'close');
  // 1: it ran to its end and has problems; which ones is up to the test.
  expect([0, 1], output).toContain(code);
  const result = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
  expect(result).toMatchObject({ schema: 1, scenario });
  expect(code).toBe(result.problems.length === 0 ? 0 : 1);
  for (const { name, points } of result.series)
    expect(
      [...points].sort(([a], [b]) => a - b),
      name,
    ).toEqual(points);
  return result;
}

function figure(result: BenchResult, name: string, target = 'owsla'): number {
  const metric = result.metrics.find((one) => one.name === name && one.target === target);
  expect(metric, `${name} of ${target}`).toBeDefined();
  return metric!.value;
}

function expectNothingLost(result: BenchResult): void {
  expect(figure(result, 'lines.sent')).toBeGreaterThan(0);
  expect(figure(result, 'lines.lost')).toBe(0);
  expect(figure(result, 'lines.duplicated')).toBe(0);
  expect(figure(result, 'lines.misordered')).toBe(0);
}

describe('the bench harness', () => {
  test('connect: in turn with a peer, with client certificates and resumed sessions', async () => {
    const result = await run(
      'connect',
      ...['--connections', '40', '--rate', '100', '--warmup-connections', '5', '--workers', '1'],
      ...['--vs', 'bare', '--rounds', '2', '--client-certificate', '--resume', '0.9'],
    );
    expect(figure(result, 'connect.established')).toBe(40);
    expect(figure(result, 'connect.established', 'bare')).toBe(40);
    expect(figure(result, 'connect.resumed')).toBeGreaterThan(0);
    expect(figure(result, 'handshake.cpu.ratio', 'owsla/bare')).toBeGreaterThan(0);
    expect(result.histograms.find(({ target }) => target === 'owsla')).toMatchObject({
      name: 'handshake',
      count: 80,
    });
    expect(result.versions).toMatchObject({ node: expect.any(String), owsla: expect.any(String) });
  });

  test('hold: memory, descriptors and balance, with an RSA key, on cores of its own where there are two', async () => {
    const apart = availableParallelism() > 1 ? ['--pin'] : [];
    const few = ['--connections', '50', '--idle', '1', '--settle', '0.5'];
    const result = await run('hold', ...few, ...apart, ...['--key', 'rsa2048', '--workers', '2']);
    expect(figure(result, 'memory.held')).toBeGreaterThan(0);
    expect(figure(result, 'balance.busiest')).toBeGreaterThanOrEqual(1);
    expect(figure(result, 'balance.busiest')).toBeLessThanOrEqual(2);
    expect(figure(result, 'descriptors.held') - figure(result, 'descriptors.after')).toBeGreaterThanOrEqual(
      50,
    );
  });

  test('echo: nothing is lost, and nothing is left at the broker', async () => {
    const result = await runAsIs('echo', ...TRAFFIC, '--rate', '100', '--duration', '2');
    expectNothingLost(result);
    expect(figure(result, 'replies.received')).toBe(figure(result, 'lines.sent'));
    expect(figure(result, 'broker.received', 'broker')).toBeGreaterThanOrEqual(
      2 * figure(result, 'lines.sent'),
    );
    expect(figure(result, 'rtt.p99')).toBeGreaterThan(0);
    if (!result.notes.some((note) => note.startsWith('broker: in a container')))
      expect(figure(result, 'rtt.cpu', 'broker')).toBeGreaterThan(0);
  });

  test('echo: a backend that shuffles, doubles, drops and delays on the shared queue', async () => {
    const result = await run(
      'echo',
      ...[...TRAFFIC, '--rate', '100', '--duration', '2', '--reply', 'shared', '--gateway'],
      ...['OWSLA_REPLY_GAP_TIMEOUT_MS=500ms', '--shuffle', '8', '--duplicate', '0.1', '--drop', '0.02'],
    );
    expectNothingLost(result);
    expect(figure(result, 'replies.misordered')).toBe(0);
    expect(figure(result, 'replies.duplicated')).toBe(0);
  });

  test('echo: a ramp says that no rate holds a bound that none can', async () => {
    const result = await outcome(
      'echo',
      ...[...sharedBroker(), ...TRAFFIC, '--rate', '3', '--ramp', '--ramp-step', '0.5', '--ramp-p99', '1ms'],
    );
    expect(figure(result, 'ramp.rate')).toBe(0);
    expectNothingLost(result);
    expect(result.problems).toContain('no rate held a p99 of 1 ms');
  });

  test('throughput: all lines come', async () => {
    const result = await run('throughput', ...TRAFFIC, '--duration', '1', '--backlog', '500');
    expectNothingLost(result);
    expect(figure(result, 'lines.taken')).toBe(figure(result, 'lines.sent'));
    expect(figure(result, 'throughput')).toBeGreaterThan(0);
  });

  test('stampede: the system comes back by itself', async () => {
    const result = await run(
      'stampede',
      ...[...TRAFFIC, '--rate', '50', '--capacity', '20', '--storm', '1', '--quiet', '1'],
      ...['--recovered-factor', '1000'],
    );
    expectNothingLost(result);
    expect(figure(result, 'stampede.connected')).toBe(40);
    expect(figure(result, 'recovery.alone')).toBe(1);
  });

  test('slowloris: newcomers get in among slow clients, and descriptors come back', async () => {
    const result = await run(
      'slowloris',
      ...[...TRAFFIC, '--rate', '50', '--sockets', '100', '--flood', '3', '--quiet', '1'],
    );
    expectNothingLost(result);
    expect(figure(result, 'slow.open.max')).toBe(100);
    expect(figure(result, 'newcomers.established')).toBe(15);
    expect(figure(result, 'descriptors.max')).toBeGreaterThan(figure(result, 'descriptors.before') + 90);
    expect(figure(result, 'descriptors.after')).toBeLessThanOrEqual(figure(result, 'descriptors.before'));
  });

  test('flood: the device that floods and all others get their replies', async () => {
    const result = await run(
      'flood',
      ...[...TRAFFIC, '--rate', '50', '--quiet', '1', '--flood', '1', '--ahead', '100'],
    );
    expectNothingLost(result);
    expect(figure(result, 'replies.received')).toBe(figure(result, 'lines.sent'));
    expect(figure(result, 'flood.rate')).toBeGreaterThan(50);
    expect(figure(result, 'rtt.flood.p50.ratio')).toBeGreaterThan(0);
  });

  test('reconnect: all devices come back', async () => {
    const result = await run(
      'reconnect',
      ...[...TRAFFIC, '--rate', '50', '--quiet', '1', '--retry-min', '0.2', '--how', 'kill'],
    );
    expectNothingLost(result);
    expect(figure(result, 'reconnect.time')).toBeGreaterThan(0);
    expect(result.histograms.find(({ name }) => name === 'outage')?.count).toBe(10);
  });

  test('faults: nothing is lost by a restart of the broker, a killed worker, a rolling restart', async () => {
    const result = await runAsIs(
      'faults',
      ...[...TRAFFIC, '--rate', '50', '--pause', '0.5', '--retry-min', '0.2', '--workers', '2'],
    );
    expectNothingLost(result);
    expect(figure(result, 'replies.lost')).toBe(0);
    for (const fault of ['broker-restart', 'worker-kill', 'rolling-restart'])
      expect(figure(result, `fault.${fault}.recovery`)).toBeGreaterThan(0);
  });

  test('suites: what keys, versions and groups cost', async () => {
    // Enough to be seen by a clock that counts in hundredths of a second.
    const few = ['--connections', '200', '--warmup-connections', '0', '--rounds', '1'];
    const names = ['p256/1.3/X25519', 'rsa2048/1.2/P-256', 'rsa2048/1.3/X25519/resumed'];
    const result = await runAsIs('suites', ...names.flatMap((name) => ['--suite', name]), ...few);
    const [first, ...others] = names;
    expect(figure(result, 'handshake.cpu', first!)).toBeGreaterThan(0);
    for (const name of others)
      expect(figure(result, 'handshake.cpu.ratio', `${name}/${first}`)).toBeGreaterThan(0);
  });

  test('soak: slopes of memory and descriptors', async () => {
    const result = await run('soak', ...TRAFFIC, '--rate', '50', '--duration', '5');
    expectNothingLost(result);
    expect(Number.isFinite(figure(result, 'memory.slope'))).toBe(true);
    expect(figure(result, 'descriptors.grown')).toBe(0);
  });

  test.each([
    [['connect', '--rate', 'fast'], '--rate: "fast" is not possible; expected a number'],
    [['conect'], 'unknown scenario "conect"; expected one of connect, hold'],
    [['connect', '--source', 'nowhere'], '--source: "nowhere" is not possible; expected auto'],
    [
      ['suites', '--suite', 'p256/1.4/X25519'],
      '--suite: "p256/1.4/X25519" is not possible; expected a key of',
    ],
    [['suites', '--suite', 'p256/1.3/none'], '--suite: p256/1.3/none is not possible with Node'],
    [['reconnect', '--target', '127.0.0.1:1'], '--target does not go with this scenario'],
    [['echo', '--gateway', 'workers=3'], '--gateway: "workers=3" is not possible'],
    [['echo', '--target', '127.0.0.1:1', '--workers', '3'], "--workers needs a gateway of the harness's own"],
    [['hold', '--target', '127.0.0.1:1', '--pid', '1073741824'], '--pid: there is no process 1073741824'],
    [['echo', '--ca', '/nowhere/ca.pem'], '--ca: /nowhere/ca.pem is not possible (ENOENT)'],
    [['echo', '--json', '/nowhere/a.json'], '--json: /nowhere/a.json cannot be written (ENOENT)'],
    [
      ['echo', '--line-bytes', '20'],
      '--line-bytes: "20" is not possible; expected a whole number, at least 48',
    ],
  ])('%j is refused in one line', async (args, text) => {
    const child = bench(args);
    let stderr = '';
    child.stderr!.on('data', (chunk) => (stderr += String(chunk)));
    const [code] = await once(child, 'close');
    expect(code).toBe(64);
    expect(stderr).toContain(text);
    expect(
      stderr
        .trim()
        .split('\n')
        .filter((line) => line.startsWith('bench: ')),
    ).toHaveLength(1);
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)('%s leaves no process of its own behind', async (signal) => {
    // Its processes, the gateway and the broker all know this folder: by their environment.
    const own = mkdtempSync(join(dir, 'tmp-'));
    const child = bench(['echo', ...TRAFFIC, '--rate', '50', '--duration', '600'], { TMPDIR: own });
    await within('traffic', sayingOf(child, 'lines/s for'), 90_000);
    expect(processesMentioning(own).length).toBeGreaterThan(5);
    child.kill(signal);
    const [code] = await once(child, 'close');
    expect(code).toBe(signal === 'SIGKILL' ? null : 130);
    expect(await processesLeft([own], 20_000)).toEqual([]);
  });
});

/** Resolves when it prints a line with this text. */
async function sayingOf(child: ChildProcess, text: string): Promise<void> {
  for await (const line of createInterface({ input: child.stderr! })) if (line.includes(text)) return;
  throw new Error(`it ended without saying "${text}"`);
}
