import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/**
 * What `npm start` and `npm test` need before any package can be imported: plain JavaScript without dependencies,
 * since on a fresh clone there is no node_modules.
 */

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Ends the process with one line when this Node is too old; installs the packages when they are not up to date. */
export function prepare() {
  process.chdir(root);
  const { engines } = readJson('package.json');
  const needed = engines.node.replace('>=', '');
  if (!isAtLeast(process.versions.node, needed)) {
    fail(`Node ${needed} or later is needed; this is ${process.versions.node} (${process.execPath}).`);
  }
  if (packagesUpToDate()) return;
  console.log('Installing the packages of package-lock.json (npm ci) …');
  const [command, ...args] = npm();
  // NODE_ENV=production would leave out what runs TypeScript and the tests.
  const { status, error } = spawnSync(
    command,
    [...args, 'ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  if (error) fail(`npm could not be run (${error.message}).`);
  if (status !== 0) fail('npm ci failed; see above.');
}

/** Imports a TypeScript file of the repository, named from its root. */
export async function importTypeScript(path) {
  const { register } = await import('tsx/esm/api');
  register();
  return import(pathToFileURL(join(root, path)).href);
}

export function fail(line) {
  console.error(line);
  process.exit(1);
}

/** npm records what it installed in the shape of the lock file; what differs besides skipped optionals is missing. */
function packagesUpToDate() {
  const recordFile = 'node_modules/.package-lock.json';
  if (!existsSync(recordFile)) return false;
  const wanted = readJson('package-lock.json').packages;
  const installed = readJson(recordFile).packages;
  for (const [path, { version, integrity, optional }] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = installed[path];
    if (found === undefined ? !optional : found.version !== version || found.integrity !== integrity)
      return false;
  }
  return true;
}

/** The npm that runs us, else the one on PATH. */
function npm() {
  const running = process.env.npm_execpath ?? '';
  return running.endsWith('npm-cli.js') ? [process.execPath, running] : ['npm'];
}

function isAtLeast(version, needed) {
  const have = version.split('.').map(Number);
  const want = needed.split('.').map(Number);
  for (let i = 0; i < want.length; i++) {
    if (have[i] !== want[i]) return have[i] > want[i];
  }
  return true;
}

function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'));
}
