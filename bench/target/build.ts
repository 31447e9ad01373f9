import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { GuardedChild } from '../../src/dev/child.ts';

export const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAM = join(ROOT, 'dist', 'main.js');

/**
 * The production build's program; built first where it is missing or older than the sources.
 * @throws Error when the build fails
 */
export async function builtProgram(say: (line: string) => void): Promise<string> {
  if (existsSync(PROGRAM) && statSync(PROGRAM).mtimeMs > newestSourceMs()) return PROGRAM;
  say('building the gateway (npm run build)');
  const build = GuardedChild.spawn('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdout: 2 });
  const { code } = await build.ended;
  if (code !== 0) throw new Error(`npm run build ended with code ${code}`);
  return PROGRAM;
}

function newestSourceMs(): number {
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(ROOT, 'src', file));
  const files = [...sources, join(ROOT, 'tsconfig.build.json'), join(ROOT, 'package.json')];
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}
