import { destination, type Logger, pino, stdTimeFunctions, symbols } from 'pino';
import pretty from 'pino-pretty';

/** For a reader of the log that has stopped to read. */
const FLUSH_TIMEOUT_MS = 1_000;

/** JSON lines on stdout; readable ones when stdout is a terminal. */
export function createLogger(level: string, bindings: Record<string, unknown>): Logger {
  const options = { level, base: bindings, timestamp: stdTimeFunctions.isoTime };
  // Each line is written at once, by a thread: whoever reads the log slowly holds up nothing. With a minimum, even
  // that of one byte, the logger can be flushed.
  return process.stdout.isTTY
    ? pino(options, pretty({ sync: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' }))
    : pino(options, destination({ dest: process.stdout.fd, minLength: 1, sync: false }));
}

/**
 * Resolves when what was logged is written, after a second at the latest. To be awaited before `process.exit`, which
 * may put the last line before one that is being written, or lose that; and it would wait for ever for a reader that
 * has stopped.
 */
export async function flushLog(log: Logger): Promise<void> {
  await new Promise<void>((resolve) => {
    const late = setTimeout(() => {
      // Called at exit.
      streamOf(log).flushSync = () => {};
      resolve();
    }, FLUSH_TIMEOUT_MS);
    // An error can only be of a stdout that cannot be synced or that nobody reads.
    log.flush(() => {
      clearTimeout(late);
      resolve();
    });
  });
}

function streamOf(log: Logger): { flushSync?(): void } {
  return (log as unknown as Record<symbol, { flushSync?(): void }>)[symbols.streamSym]!;
}
