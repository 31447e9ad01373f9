import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ROOT } from './files.mjs';

/** Whether a program is on PATH. */
export function hasTool(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs a program at the top of the repository. Returns its exit code and all it printed. */
export function runTool(name, args, input = '') {
  const { status, stdout, stderr, error } = spawnSync(name, args, { cwd: ROOT, encoding: 'utf8', input });
  if (error !== undefined) throw error;
  return { status, output: `${stdout}${stderr}`.trim() };
}
