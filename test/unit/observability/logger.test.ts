import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const LOGGER = join(import.meta.dirname, '../../../src/observability/logger.ts');

/** Its threads have better to do than to write the log. */
const BUSY_PROCESS = `
  import { pbkdf2 } from 'node:crypto';
  import { createLogger, flushLog } from ${JSON.stringify(LOGGER)};
  const log = createLogger('info', {});
  for (let i = 0; i < 8; i++) pbkdf2('password', 'salt', 100_000, 32, 'sha512', () => {});
  log.info('first');
  await new Promise((resolve) => setTimeout(resolve, 10));
  log.error('last');
  await flushLog(log);
  process.exit(1);
`;

test('what was logged before the end of a process is written, in order', async () => {
  const args = ['--import', 'tsx', '--input-type=module', '--eval', BUSY_PROCESS];
  const output = await new Promise<string>((resolve) => {
    execFile(process.execPath, args, (_, stdout, stderr) => resolve(stdout + stderr));
  });
  const lines = output.trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['first', 'last']);
});
