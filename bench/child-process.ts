import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/**
 * A process of the harness's own, forked from a file in this folder. It ends when the harness does, however that
 * ends: its IPC channel closes.
 */
export function forkOwn(file: string): ChildProcess {
  const child = fork(join(import.meta.dirname, file), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('error', (error) => {
    // What cannot be sent to one that has ended is nobody's concern; 'exit' tells of the end.
    if (child.pid === undefined) throw error;
  });
  return child;
}

export function stopOwn(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}
