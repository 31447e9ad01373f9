import { describe, expect, test } from 'vitest';
import { stopProblem } from '../../../../bench/target/gateway.ts';

describe('stopProblem', () => {
  test('an end with code 0 is in order, whatever the log says', () => {
    expect(stopProblem({ code: 0, signal: null }, 'a warning\n')).toBeUndefined();
  });

  test.each([
    ['a code', { code: 1, signal: null }, 'code 1'],
    ['a signal', { code: null, signal: 'SIGKILL' }, 'SIGKILL'],
  ] as const)('%s is quoted, with the last lines of the log', (_, end, how) => {
    expect(stopProblem(end, 'one\ntwo\nthree\nfour\n')).toBe(
      `the gateway was asked to stop and ended with ${how}; expected was code 0; the end of its log: two | three | four`,
    );
  });

  test('an empty log is said to be empty', () => {
    expect(stopProblem({ code: 1, signal: null }, '')).toMatch(/the end of its log: nothing$/);
  });
});
