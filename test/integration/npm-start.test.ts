import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freePort } from '../../src/dev/free-port.ts';
import { processesLeft, processesMentioning } from '../helpers/processes.ts';

describe('npm start', () => {
  let stateDir: string;
  let program: ChildProcess;
  let listenPort: number;

  beforeEach(async () => {
    stateDir = mkdtempSync(join(tmpdir(), 'owsla-start-test-'));
    listenPort = await freePort();
    program = spawn(process.execPath, ['deploy/dev/start.mjs', '--log.level=info'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        DEV_STATE_DIR: stateDir,
        // In the environment of all that is started: how `processesLeft` knows it.
        STARTED_BY_TEST: stateDir,
        OWSLA_LISTEN_PORT: String(listenPort),
        OWSLA_ADMIN_PORT: String(await freePort()),
        OWSLA_WORKERS: '1',
      },
    });
  });

  afterEach(async () => {
    if (program.exitCode === null && program.signalCode === null) {
      program.kill('SIGKILL');
      await once(program, 'exit');
    }
    await processesLeft([stateDir]);
    rmSync(stateDir, { recursive: true, force: true });
  });

  test('brings a typed line back through RabbitMQ, and leaves nothing behind after Ctrl-C', async () => {
    const output = await textUntil(program.stdout!, /Ctrl-C stops everything/);
    expect(output).toContain(`openssl s_client -connect 127.0.0.1:${listenPort} -CAfile `);
    expect(output).toContain('-quiet -servername localhost');

    const device = spawn(
      'openssl',
      [
        ...['s_client', '-connect', `127.0.0.1:${listenPort}`, '-CAfile', join(stateDir, 'tls', 'ca.pem')],
        ...['-quiet', '-verify_return_error', '-servername', 'localhost'],
      ],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
    device.stdin.write('hello, hare\n');
    expect(await textUntil(device.stdout, /\n/)).toBe('hello, hare\n');

    const deviceEnded = once(device, 'exit');
    program.kill('SIGINT');
    const [code] = await once(program, 'exit');
    expect(code).toBe(0);
    await deviceEnded; // The gateway closed its connections.
    expect(await processesLeft([stateDir])).toEqual([]);
  });

  test('leaves nothing behind when it is killed', async () => {
    await textUntil(program.stdout!, /Ctrl-C stops everything/);
    expect(processesMentioning(stateDir).length).toBeGreaterThan(4);
    program.kill('SIGKILL');
    await once(program, 'exit');
    expect(await processesLeft([stateDir])).toEqual([]);
  });
});

/** What a stream says up to a pattern. @throws with all it said when it ends before */
async function textUntil(stream: Readable, pattern: RegExp): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (pattern.test(text)) resolve(text);
    });
    stream.once('close', () => reject(new Error(`ended without ${pattern}:\n${text}`)));
  });
}
