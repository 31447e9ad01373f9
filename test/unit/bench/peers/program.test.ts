import { describe, expect, test } from 'vitest';
import { askVersion, requireProgram } from '../../../../bench/peers/program.ts';

describe('the program of a peer', () => {
  test('is missed with one line that names the package', () => {
    expect(() => requireProgram('no-such-program', 'its-package')).toThrow(
      /^no-such-program is not installed \(.*apt-get install .*its-package\)$/,
    );
  });

  test('tells its version on either stream, whatever its exit code', async () => {
    expect(await askVersion(process.execPath, '--version', /v(\S+)/)).toBe(process.versions.node);
    expect(await askVersion(process.execPath, '--no-such-flag', /bad option: (\S+)/)).toBe('--no-such-flag');
  });
});
