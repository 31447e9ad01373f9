import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { reasonOf } from '../../src/config/problem.ts';
import { UsageError } from '../cli/option-table.ts';

/** That devices can verify by what --ca names: TLS itself takes any text for no certificates. @throws UsageError */
export function checkAuthority(ca: string | undefined): void {
  if (ca === undefined) return;
  try {
    new X509Certificate(readFileSync(ca, 'utf8'));
  } catch (error) {
    throw new UsageError(
      `--ca: ${ca} is not possible (${reasonOf(error)}); expected a file with a certificate (PEM)`,
    );
  }
}
