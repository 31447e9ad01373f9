import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { writeCertificates } from '../../src/dev/certificates.ts';
import { PrivateBroker } from '../../src/dev/private-broker.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A RabbitMQ for all integration tests; give queues names of your own. */
    amqpUrl: string;
    /** Folder with `ca.pem`, `ca-key.pem`, `server.pem` and `server-key.pem`. */
    certificatesDir: string;
  }
}

/** One broker and one set of certificates for the whole run. `OWSLA_TEST_AMQP_URL`: use that broker instead. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const certificatesDir = mkdtempSync(join(tmpdir(), 'owsla-test-'));
  await writeCertificates(certificatesDir);
  project.provide('certificatesDir', certificatesDir);

  const givenUrl = process.env.OWSLA_TEST_AMQP_URL;
  // A gateway started by a test would take it for a misspelt key of its own.
  delete process.env.OWSLA_TEST_AMQP_URL;
  const broker = givenUrl === undefined ? await PrivateBroker.start() : undefined;
  project.provide('amqpUrl', broker?.url ?? givenUrl!);

  return async () => {
    await broker?.[Symbol.asyncDispose]();
    rmSync(certificatesDir, { recursive: true, force: true });
  };
}
