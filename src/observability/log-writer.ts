import { write, writeSync } from 'node:fs';

/** What a pipe takes as a whole or not at all (PIPE_BUF of Linux): lines of several processes do not mix. */
const MAX_BATCH_BYTES = 4_096;

/** What is kept of a log that cannot be written. Further lines are dropped and counted until that is written. */
const MAX_HELD_BYTES = 8 * 2 ** 20;

/** Until a pipe that is full is tried again. */
const BUSY_PAUSE_MS = 20;

/** How long the end of a process waits for a reader of its log that has stopped to read. */
export const FLUSH_TIMEOUT_MS = 1_000;

const NOTHING: Buffer = Buffer.alloc(0);
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/**
 * Writes lines to a file or a pipe. Each is written at once, by a thread: whoever reads slowly holds up nothing.
 *
 * A write that fails (the disk is full, the reader is gone) is no error to anybody. What it has left is tried again with
 * the next line, and so the log goes on once it can be written again.
 */
export class LogWriter {
  readonly #fd: number;
  readonly #dropped: (lines: number) => void;
  /** Those that wait. The first may be the rest of one. */
  readonly #lines: Buffer[] = [];
  /** What is being written, or what a failed write has left. */
  #batch = NOTHING;
  /** Of `#lines` and `#batch`. */
  #heldBytes = 0;
  #droppedLines = 0;
  #state: 'idle' | 'writing' | 'pausing' = 'idle';
  #flushes: (() => void)[] = [];

  /** @param dropped is told how many lines are missing, as soon as what was kept is written */
  constructor(fd: number, dropped: (lines: number) => void) {
    this.#fd = fd;
    this.#dropped = dropped;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    // One gap, however long: lines in the middle of it would tell less than its length.
    if ((this.#droppedLines > 0 && this.#heldBytes > 0) || this.#heldBytes + bytes.length > MAX_HELD_BYTES) {
      this.#droppedLines++;
    } else {
      this.#lines.push(bytes);
      this.#heldBytes += bytes.length;
    }
    if (this.#state === 'idle') this.#writeNext();
  }

  /** Calls back when everything is written, or when a write has failed. */
  flush(done: () => void): void {
    this.#flushes.push(done);
    if (this.#state === 'idle') this.#writeNext();
  }

  /**
   * Writes what waits before it returns, as far as that is possible within a second. pino calls it after a fatal line.
   * What a thread is writing cannot be waited for, and may come later.
   */
  flushSync(): void {
    if (this.#state !== 'writing' && this.#batch.length > 0) {
      this.#lines.unshift(this.#batch);
      this.#batch = NOTHING;
    }
    const giveUpAtMs = performance.now() + FLUSH_TIMEOUT_MS;
    while (this.#lines.length > 0 && performance.now() < giveUpAtMs) {
      const batch = this.#nextBatch();
      let written = 0;
      try {
        written = writeSync(this.#fd, batch);
      } catch (error) {
        // Any other error will not be gone in a second.
        if (!isBusy(error)) return;
        Atomics.wait(sleeper, 0, 0, BUSY_PAUSE_MS);
      } finally {
        this.#heldBytes -= written;
        if (written < batch.length) this.#lines.unshift(batch.subarray(written));
      }
    }
  }

  #writeNext(): void {
    if (this.#batch.length === 0) this.#batch = this.#nextBatch();
    if (this.#batch.length === 0) {
      this.#pauseOrEnd();
      return;
    }
    this.#state = 'writing';
    write(this.#fd, this.#batch, (error, written) => {
      if (error !== null) {
        this.#pauseOrEnd(error);
        return;
      }
      this.#batch = this.#batch.subarray(written);
      this.#heldBytes -= written;
      this.#writeNext();
    });
  }

  #pauseOrEnd(error?: Error): void {
    if (isBusy(error)) {
      this.#state = 'pausing';
      // A log that nobody reads must not keep a process that has nothing else to do.
      setTimeout(() => this.#writeNext(), BUSY_PAUSE_MS).unref();
      return;
    }
    this.#state = 'idle';
    const dropped = this.#droppedLines;
    if (error === undefined && dropped > 0) {
      this.#droppedLines = 0;
      this.#dropped(dropped);
      // What it has written comes before the end of a flush.
      if (this.#state !== 'idle') return;
    }
    const flushes = this.#flushes;
    this.#flushes = [];
    for (const done of flushes) done();
  }

  #nextBatch(): Buffer {
    let count = 0;
    let bytes = 0;
    for (const line of this.#lines) {
      if (count > 0 && bytes + line.length > MAX_BATCH_BYTES) break;
      bytes += line.length;
      count++;
    }
    return count === 1 ? this.#lines.shift()! : Buffer.concat(this.#lines.splice(0, count), bytes);
  }
}

function isBusy(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EAGAIN';
}
