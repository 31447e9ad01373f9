import { describe, expect, test } from 'vitest';
import { UsageError } from '../../../../bench/cli/option-table.ts';
import { checkPids } from '../../../../bench/target/target-options.ts';
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
