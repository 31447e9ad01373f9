import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';

/** For a reader of the log that has stopped to read. */
const FLUSH_TIMEOUT_MS = 1_000;

/** JSON lines on stdout; readable ones when stdout is a terminal. */
export function createLogger(level: string, bindings: Record<string, unknown>): Logger {
  const options = { level, base: bindings, timestamp: stdTimeFunctions.isoTime };
  return process.stdout.isTTY
    ? pino(options, pretty({ sync: true, ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' }))
    : pino(options, stdout());
}

/**
 * Each line is written at once, by a thread: whoever reads the log slowly holds up nothing. At a fatal line and at an
 * exit pino writes what is left itself, and would wait for ever for a reader that has stopped.
 */
function stdout(): DestinationStream {
  let giveUpAtMs = Number.POSITIVE_INFINITY;
  const stream = destination({
    dest: process.stdout.fd,
    // With a minimum, even that of one byte, the logger can be flushed.
    minLength: 1,
    sync: false,
    retryEAGAIN: () => performance.now() < giveUpAtMs,
  });
  const flushSync = stream.flushSync.bind(stream);
  stream.flushSync = () => {
    giveUpAtMs = performance.now() + FLUSH_TIMEOUT_MS;
    try {
      flushSync();
    } catch {
      // There is nobody to tell.
    } finally {
      giveUpAtMs = Number.POSITIVE_INFINITY;
    }
  };
  return stream;
}

/**
 * Resolves when what was logged is written, after a second at the latest. To be awaited before `process.exit`, which
 * may put the last line before one that is being written, or lose that.
 */
export async function flushLog(log: Logger): Promise<void> {
  await new Promise<void>((resolve) => {
    const late = setTimeout(resolve, FLUSH_TIMEOUT_MS);
    // An error can only be of a stdout that cannot be synced or that nobody reads.
    log.flush(() => {
      clearTimeout(late);
      resolve();
    });
  });
}
