import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findOnPath } from '../../src/dev/find-on-path.ts';

/**
 * Full path of a peer's program.
 * @throws Error with one line that names the Debian package
 */
export function requireProgram(program: string, debianPackage: string): string {
  const found = findOnPath(program);
  if (found === undefined) throw missingProgram(program, debianPackage);
  return found;
}

export function missingProgram(what: string, debianPackage: string): Error {
  return new Error(
    `${what} is not installed (Debian, Ubuntu: sudo apt-get install --no-install-recommends ${debianPackage})`,
  );
}

/** What a pattern's first group finds in what a program prints about itself, whatever its exit code. */
export async function askVersion(program: string, flag: string, pattern: RegExp): Promise<string> {
  const output = await promisify(execFile)(program, [flag]).catch(
    (error: { stdout?: string; stderr?: string }) => error,
  );
  return pattern.exec(`${output.stdout ?? ''}${output.stderr ?? ''}`)?.[1] ?? 'unknown';
}
