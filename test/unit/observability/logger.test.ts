import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const LOGGER = join(import.meta.dirname, '../../../src/observability/logger.ts');

/** The one thread that writes its log has something else to do first: some 50 ms, far less than a flush waits. */
const BUSY_PROCESS = `
  import { pbkdf2 } from 'node:crypto';
  import { createLogger, flushLog } from ${JSON.stringify(LOGGER)};
  const log = createLogger('info', {});
  pbkdf2('password', 'salt', 50_000, 32, 'sha512', () => {});
  log.info('first');
  log.error('last');
  await flushLog(log);
  process.exit();
`;

test('what was logged before the end of a process is written, in order', async () => {
  const args = program(BUSY_PROCESS);
  const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  const lines = stdout.trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['first', 'last']);
});

/** More than pipes hold. */
const TALKATIVE_PROCESS = `
  import { createLogger, flushLog } from ${JSON.stringify(LOGGER)};
  const log = createLogger('info', {});
  for (let n = 0; n < 1_000; n++) log.info('x'.repeat(1_000));
`;

test.each([
  ['after a flush', 'await flushLog(log); process.exit(3);', 3],
  ['without one', 'process.exit(3);', 3],
  ['after a fatal line', "log.fatal('last'); process.exit(3);", 3],
  ['by an exception', "throw 'an exception';", 1],
])('a process whose log nobody reads any more can exit %s', async (_, end, code) => {
  const args = program(TALKATIVE_PROCESS + end);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    expect(await once(child, 'exit', { signal: AbortSignal.timeout(15_000) })).toEqual([code, null]);
  } finally {
    child.kill('SIGKILL');
    child.stdout.destroy();
  }
});

const UNWRITABLE = `
  import { createLogger, flushLog } from ${JSON.stringify(LOGGER)};
  const log = createLogger('info', {});
`;

describe('a full disk', () => {
  test.each([
    ['after a flush', "log.info('lost'); await flushLog(log); process.exit(3);", 3],
    ['without one', "log.info('lost'); log.info('lost'); process.exit(3);", 3],
    ['after a fatal line', "log.error('lost'); log.fatal('lost'); process.exit(3);", 3],
    ['by an exception', "log.info('lost'); log.info('lost'); throw 'an exception';", 1],
    ['when it has nothing more to do', "log.info('lost');", 0],
    [
      'after other work',
      "for (const n of [1, 2, 3]) { log.info('lost'); await setTimeout(50); } process.exit(3);",
      3,
    ],
  ])('neither ends a process nor keeps it from ending %s', async (_, end, code) => {
    const disk = openSync('/dev/full', 'w');
    const timers = "import { setTimeout } from 'node:timers/promises';";
    try {
      expect(await exitOf(timers + UNWRITABLE + end, disk)).toEqual([code, null]);
    } finally {
      closeSync(disk);
    }
  });

  /** A limit on the size of files stands for the disk. */
  const FULL_FOR_A_WHILE = `
    import { execFileSync } from 'node:child_process';
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
    ${UNWRITABLE}
    const line = 'x'.repeat(1_000);
    limit(10_500);
    for (let n = 0; n < 100; n++) log.info({ n }, line);
    await flushLog(log);
    log.error({ n: 100 }, line);
    log.fatal({ n: 101 }, line);
  `;

  test('costs no line if it is soon freed', async () => {
    const lines = await written(
      `${FULL_FOR_A_WHILE} limit('unlimited'); log.info({ n: 102 }); await flushLog(log);`,
    );
    expect(lines.map(({ n }) => n)).toEqual(Array.from({ length: 103 }, (_, n) => n));
  });

  test('costs the lines that are too many to keep, and the log says how many', async () => {
    const lines = await written(`
      ${FULL_FOR_A_WHILE}
      for (let n = 102; n < 10_000; n++) log.info({ n }, line);
      await flushLog(log);
      limit('unlimited');
      log.info({ n: 10_000 }, line);
      await flushLog(log);
      log.info({ n: 10_001 });
    `);
    const kept = lines.length - 2;
    expect(kept).toBeGreaterThan(7_000);
    expect(lines.slice(0, kept).map(({ n }) => n)).toEqual(Array.from({ length: kept }, (_, n) => n));
    expect(lines[kept]).toMatchObject({ lines: 10_001 - kept, msg: expect.stringContaining('missing') });
    expect(lines[kept + 1]).toMatchObject({ n: 10_001 });
  });

  /** The log that this program writes to a file. */
  async function written(source: string): Promise<Record<string, unknown>[]> {
    const folder = mkdtempSync(join(tmpdir(), 'owsla-log-'));
    const path = join(folder, 'log');
    const file = openSync(path, 'a');
    try {
      expect(await exitOf(source, file)).toEqual([0, null]);
      const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
      return lines.map((line) => JSON.parse(line));
    } finally {
      closeSync(file);
      rmSync(folder, { recursive: true });
    }
  }
});

describe('a pipe whose reader is gone', () => {
  test.each([
    ['an error and a fatal line in one turn', "log.error('lost'); log.fatal('lost'); process.exit(3);"],
    ['two lines that are its last', "log.error('lost'); log.error('lost'); process.exit(3);"],
  ])('lets a process end after %s', async (_, end) => {
    const closed =
      "import { once } from 'node:events'; await once(process, 'message'); process.disconnect();";
    const child = spawn(process.execPath, program(UNWRITABLE + closed + end), {
      stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
    });
    try {
      child.stdout!.destroy();
      await once(child.stdout!, 'close');
      child.send('closed');
      expect(await once(child, 'exit', { signal: AbortSignal.timeout(15_000) })).toEqual([3, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

/** The exit code and the signal of a program that logs to this descriptor. */
async function exitOf(source: string, stdout: number): Promise<unknown[]> {
  const child = spawn(process.execPath, program(source), { stdio: ['ignore', stdout, 'ignore'] });
  try {
    return await once(child, 'exit', { signal: AbortSignal.timeout(15_000) });
  } finally {
    child.kill('SIGKILL');
  }
}

function program(source: string): string[] {
  return ['--import', 'tsx', '--input-type=module', '--eval', source];
}
