import { execFile } from 'node:child_process';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { claimPort, freePort } from '../../../src/dev/free-port.ts';

const MODULE = join(import.meta.dirname, '../../../src/dev/free-port.ts');

async function claimedByAnother(port: number): Promise<string> {
  const program = `import(${JSON.stringify(MODULE)}).then(async (m) => console.log(await m.claimPort(${port})))`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '-e', program]);
  return stdout.trim();
}

it('a port that a living process has claimed is nobody else’s, though nobody listens yet', async () => {
  const server = createServer();
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  );
  await new Promise((resolve) => server.close(resolve));
  expect(await claimedByAnother(port)).toBe('true');
  expect(await claimPort(port)).toBe(true);
  expect(await claimedByAnother(port)).toBe('false');
});

it('a port that was found free is claimed', async () => {
  const port = await freePort();
  expect(await claimPort(port)).toBe(false);
  expect(await claimedByAnother(port)).toBe('false');
});

it('a port that is in use cannot be claimed', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  expect(await claimPort((server.address() as AddressInfo).port)).toBe(false);
  server.close();
});
