import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/**
 * A process of the harness's own, forked from a file in this folder. It ends when the harness does, however that
 * ends: its IPC channel closes.
 */
export function forkOwn(file: string): ChildProcess {
  return fork(join(import.meta.dirname, file), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

export function stopOwn(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}
