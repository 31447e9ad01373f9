import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { UsageError } from '../../../../bench/cli/option-table.ts';
import { checkAuthority } from '../../../../bench/fleet/authority.ts';
import { writeCertificates } from '../../../../src/dev/certificates.ts';

const dir = mkdtempSync(join(tmpdir(), 'owsla-authority-test-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe('--ca', () => {
  test('is a file with a certificate', async () => {
    const { ca } = await writeCertificates(dir);
    expect(() => checkAuthority(ca)).not.toThrow();
    expect(() => checkAuthority(undefined)).not.toThrow();
  });

  test.each([
    ['missing.pem', undefined, 'ENOENT'],
    ['text.pem', 'hello', 'PEM routines: no start line'],
  ])('%s is refused in one line', (name, content, reason) => {
    const file = join(dir, name);
    if (content !== undefined) writeFileSync(file, content);
    expect(() => checkAuthority(file)).toThrow(
      new UsageError(`--ca: ${file} is not possible (${reason}); expected a file with a certificate (PEM)`),
    );
  });
});
