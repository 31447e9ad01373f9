import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { within } from '../helpers/eventually.ts';
import { GatewayProcess } from '../helpers/gateway-process.ts';

/** Whether a device that offers these groups only gets in. */
function getsIn(port: number, ecdhCurve: string): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ecdhCurve });
  const outcome = new Promise<boolean>((resolve) => {
    socket.once('secureConnect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });
  return within('handshake', outcome).finally(() => socket.destroy());
}

test.each([
  ['the cheap groups are taken, the dear ones are not', {}, { X25519: true, 'P-256': true, 'P-384': false }],
  [
    'others are taken where they are named',
    { OWSLA_TLS_GROUPS: 'P-521:P-384' },
    { X25519: false, 'P-384': true, 'X25519:P-521': true },
  ],
])('%s', async (_, env, expected) => {
  await using gateway = await GatewayProcess.start({ env });
  for (const [groups, isTaken] of Object.entries(expected))
    expect(await getsIn(gateway.port, groups), groups).toBe(isTaken);
});
