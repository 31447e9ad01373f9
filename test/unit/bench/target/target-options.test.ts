import { describe, expect, test } from 'vitest';
import { UsageError } from '../../../../bench/cli/option-table.ts';
import { checkPids, checkTarget, type GivenOptions } from '../../../../bench/target/target-options.ts';
import { asNobody, isRoot } from '../../../helpers/as-nobody.ts';

const target = 'localhost:8883';

describe('--pid', () => {
  test('is a process that can be looked at', () => {
    expect(() => checkPids({ target, pid: [String(process.pid)] })).not.toThrow();
    expect(() => checkPids({ target: undefined, pid: [] })).not.toThrow();
  });

  test.each([
    [target, '1073741824', '--pid: there is no process 1073741824; expected one that runs on this machine'],
    [target, 'all', '--pid: "all" is not possible; expected a process id'],
    [undefined, '1', '--pid needs --target: the harness knows the processes that it starts'],
  ])('with --target %s, %s is refused in one line', (target, pid, message) => {
    expect(() => checkPids({ target, pid: [pid] })).toThrow(new UsageError(message));
  });

  test.runIf(isRoot)('of somebody else is refused', () => {
    const pid = String(process.ppid);
    expect(() => asNobody(() => checkPids({ target, pid: [pid] }))).toThrow(
      `--pid: process ${pid} may not be looked at (EACCES)`,
    );
  });
});

describe('--target', () => {
  const options = (changes: Partial<GivenOptions>): GivenOptions => ({
    target,
    pid: [],
    amqpUrl: undefined,
    workers: 0,
    key: 'p256',
    pin: false,
    gateway: [],
    ...changes,
  });
  const check = (changes: Partial<GivenOptions>) => checkTarget(options(changes), ['FROM', 'TO']);

  test.each([
    [{ workers: 2 }, '--workers needs a gateway'],
    [{ key: 'rsa2048' }, '--key needs a gateway'],
    [{ admission: 'off' }, '--admission needs a gateway'],
    [{ gateway: ['FROM=lines', 'DEPTH=3'] }, '--gateway: DEPTH needs a gateway'],
  ] as const)('does not go with %j, unless it is absent', (changes, message) => {
    expect(() => check(changes)).toThrow(message);
    expect(() => check({ ...changes, target: undefined })).not.toThrow();
  });

  test('goes with names of queues, and with what is of peers', () => {
    expect(() => check({ gateway: ['FROM=lines', 'TO=replies'] })).not.toThrow();
    expect(() => check({ workers: 2, key: 'rsa2048', vs: ['nginx'] })).not.toThrow();
  });
});
