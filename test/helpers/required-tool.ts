import type { TestContext } from 'vitest';

/**
 * A tool that `npm test` installs. Where the tests are run without that set-up, a test that misses one is skipped.
 * @throws Error with one line where the set-up has promised it
 */
export function requiredTool<T>(found: T | undefined, debianPackage: string, context: TestContext): T {
  if (found !== undefined) return found;
  if (process.env.TEST_TOOLS_ENSURED === undefined) context.skip(`${debianPackage} is not installed`);
  throw new Error(`${debianPackage} is not installed, though the set-up of the tests should have done it`);
}
