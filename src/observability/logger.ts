import { type Logger, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import { FLUSH_TIMEOUT_MS, LogWriter } from './log-writer.ts';

/**
 * JSON lines on stdout; readable ones when stdout is a terminal. A log that cannot be written stops nothing, and keeps
 * no process from ending.
 */
export function createLogger(level: string, bindings: Record<string, unknown>): Logger {
  const options = { level, base: bindings, timestamp: stdTimeFunctions.isoTime };
  if (process.stdout.isTTY)
    return pino(options, pretty({ sync: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' }));
  const writer = new LogWriter(process.stdout.fd, (lines) =>
    log.warn({ lines }, 'log lines are missing here: they could not be written'),
  );
  const log = pino(options, writer);
  process.on('exit', () => writer.flushSync());
  return log;
}

/**
 * Resolves when what was logged is written or cannot be, after a second at the latest. To be awaited before
 * `process.exit`, which may put the last line before one that is being written, or lose that.
 */
export async function flushLog(log: Logger): Promise<void> {
  await new Promise<void>((resolve) => {
    const late = setTimeout(resolve, FLUSH_TIMEOUT_MS);
    log.flush(() => {
      clearTimeout(late);
      resolve();
    });
  });
}
