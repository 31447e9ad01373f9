import { spawn } from 'node:child_process';
import { findOnPath } from './find-on-path.ts';

/**
 * Debian's maintainer scripts start a package's service unless policy-rc.d forbids it. One is put in place for the
 * time of the installation, unless the machine has a policy of its own. A stale package list need not matter, so a
 * failing update is not the end.
 */
const INSTALL = `
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o DPkg::Lock::Timeout=300 update || true
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
`;

/** Installing through apt-get is possible: it exists, and we are root or may become it without a password. */
export async function canInstallPackages(): Promise<boolean> {
  return findOnPath('apt-get') !== undefined && (await privilege()) !== undefined;
}

/**
 * Installs Debian packages without what they recommend, and without starting a service that they bring.
 * @param say gets one line that says so
 * @throws Error with the end of apt-get's own output
 */
export async function installPackages(
  packages: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const prefix = await privilege();
  if (prefix === undefined) throw new Error(`not allowed to install ${packages.join(', ')}`);
  say(`Installing ${packages.join(', ')} with apt-get …`);
  const { code, tail } = await run([...prefix, 'sh', '-c', INSTALL, 'install', ...packages]);
  if (code !== 0) throw new Error(`apt-get ended with code ${code}:\n${tail}`);
}

/** What goes before a command so that it runs as root; `undefined` when that is not possible. */
async function privilege(): Promise<string[] | undefined> {
  if (process.getuid?.() === 0) return [];
  const sudo = findOnPath('sudo');
  if (sudo === undefined) return undefined;
  const { code } = await run([sudo, '-n', 'true']);
  return code === 0 ? [sudo, '-n'] : undefined;
}

const TAIL_CHARACTERS = 1500;

/** Runs a command without input; resolves to its exit code (null: a signal) and the end of its output. */
function run(command: readonly string[]): Promise<{ code: number | null; tail: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    let tail = '';
    const keep = (chunk: Buffer) => {
      tail = (tail + chunk.toString()).slice(-TAIL_CHARACTERS);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, tail: tail.trim() }));
  });
}
