import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { AcceptorHandlers, AcceptorOptions } from '../../../src/acceptor/acceptor-options.ts';
import { AcceptorPool } from '../../../src/acceptor/acceptor-pool.ts';
import type { AdmissionGate } from '../../../src/acceptor/admission.ts';
import type { Handshake } from '../../../src/acceptor/handshake.ts';

let pool: AcceptorPool;
afterEach(() => pool.close());

/** One that is never asked to let anybody in. */
function createPool(): AcceptorPool {
  const options = { host: '127.0.0.1', port: 0, backlog: 10, ticketKeys: Buffer.alloc(48) };
  pool = new AcceptorPool(
    options as unknown as AcceptorOptions,
    {} as AdmissionGate<Handshake>,
    {} as AcceptorHandlers,
    () => performance.now(),
  );
  return pool;
}

const refusal = (port: number) =>
  new Promise<string | undefined>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    socket.on('connect', () => resolve(undefined));
  });

test('a pool that is closed while it begins to listen accepts nobody', async () => {
  const listening = createPool().listen();
  const closing = pool.close();
  const port = await listening;
  await closing;
  expect(await refusal(port)).toBe('ECONNREFUSED');
});
