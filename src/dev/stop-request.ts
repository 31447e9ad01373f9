import { readFileSync } from 'node:fs';

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** A terminal's Ctrl-C reaches a program started by npm twice: from the terminal, and handed on by npm. */
const SAME_REQUEST_MS = 500;
const PARENT_CHECK_MS = 500;

/**
 * The wish of an operator that this program ends. The first signal aborts the returned `AbortSignal`; a second one
 * ends the process at once, with what depends on it. Under npm the end of npm counts as well: the shell that npm
 * runs a script in does not hand a signal on.
 */
export function onStopRequest(say: (line: string) => void): AbortSignal {
  const request = new AbortController();
  let firstAt = 0;
  for (const [signal, exitCode] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      if (!request.signal.aborted) {
        firstAt = performance.now();
        request.abort();
      } else if (performance.now() - firstAt > SAME_REQUEST_MS) {
        say('Stopping at once.');
        process.exit(exitCode);
      }
    });
  }
  if (process.env.npm_lifecycle_event !== undefined) abortWithParent(request);
  return request.signal;
}

function abortWithParent(request: AbortController): void {
  const before = ancestry();
  const timer = setInterval(() => {
    if (ancestry() === before) return;
    clearInterval(timer);
    request.abort();
  }, PARENT_CHECK_MS);
  timer.unref();
}

/** Our parent; and where that is a shell, and the system tells, its parent too. */
function ancestry(): string {
  const parent = process.ppid;
  try {
    // proc(5): process id, (name), state, parent.
    const [, name, grandparent] = /\((.*)\) \S (\d+)/s.exec(readFileSync(`/proc/${parent}/stat`, 'utf8'))!;
    return /^(ba|da)?sh$/.test(name!) ? `${parent} ${grandparent}` : String(parent);
  } catch {
    return String(parent);
  }
}
