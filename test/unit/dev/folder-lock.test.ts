import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockFolder } from '../../../src/dev/folder-lock.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'owsla-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('a folder is kept to one holder until it is given free', () => {
  const unlock = lockFolder(dir);
  expect(() => lockFolder(dir)).toThrow(`${dir} is in use by another npm start (process ${process.pid})`);
  unlock();
  lockFolder(dir)();
});

test('a lock of a process that is gone does not count', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  writeFileSync(join(dir, 'lock'), `${child.pid} 12345`);
  lockFolder(dir)();
});

test('a lock of an earlier process with the same id does not count', () => {
  writeFileSync(join(dir, 'lock'), `${process.pid} 1`);
  lockFolder(dir)();
});
