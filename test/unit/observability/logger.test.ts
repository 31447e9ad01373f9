import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

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

function program(source: string): string[] {
  return ['--import', 'tsx', '--input-type=module', '--eval', source];
}
