import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type PeerState, peerStates, readTcpTable, remoteEndOf } from '../../../src/endpoint/peer-watch.ts';

const HEADER =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';

describe('readTcpTable', () => {
  it('finds the states of the sockets that are bound to the port', () => {
    const states = new Map<string, PeerState>();
    const table = [
      HEADER,
      '   0: 0100007F:22B3 0200007F:C001 01 00000000:00000000 02:0 00000000     0        0 1 2 0',
      '   1: 0100007F:22B3 0300007F:C002 08 00000000:00000000 02:0 00000000     0        0 1 2 0',
      '   2: 0100007F:22B3 00000000:0000 0A 00000000:00000000 02:0 00000000     0        0 1 2 0',
      '   3: 0100007F:1F90 0200007F:C003 01 00000000:00000000 02:0 00000000     0        0 1 2 0',
    ];
    readTcpTable(table.join('\n'), 0x22b3, states);
    expect([...states]).toEqual([
      ['127.0.0.2:49153', 'alive'],
      ['127.0.0.3:49154', 'half_closed'],
    ]);
  });

  it('reads IPv6 addresses, and IPv4 ones in their IPv6 form', () => {
    const states = new Map<string, PeerState>();
    const local = '00000000000000000000000001000000:22B3';
    const table = [
      HEADER,
      `   0: ${local} B80D0120000000000000000001000000:C001 01 0:0 0:0 0 0 0 1`,
      `   1: ${local} 0000000000000000FFFF00000200007F:C002 01 0:0 0:0 0 0 0 1`,
    ];
    readTcpTable(table.join('\n'), 0x22b3, states);
    expect(states.has(remoteEndOf('2001:db8::1', 49153))).toBe(true);
    expect(states.has(remoteEndOf('::ffff:127.0.0.2', 49154))).toBe(true);
    expect(states.has(remoteEndOf('127.0.0.2', 49154))).toBe(true);
  });
});

describe.skipIf(process.platform !== 'linux')('peerStates', () => {
  for (const host of ['127.0.0.1', '::1']) {
    it(`tells a peer that closed from one that is there (${host})`, async () => {
      const accepted: Socket[] = [];
      const server: Server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) =>
        accepted.push(socket),
      );
      await once(server.listen(0, host), 'listening');
      const { port } = server.address() as AddressInfo;
      const [staying, leaving] = [connect(port, host), connect(port, host)];
      await Promise.all([once(staying, 'connect'), once(leaving, 'connect')]);
      const ends = [staying, leaving].map((socket) => remoteEndOf(host, socket.localPort!));
      leaving.end();
      await once(leaving, 'finish');
      await expect.poll(async () => (await peerStates(port))?.get(ends[1]!)).toBe('half_closed');
      expect((await peerStates(port))?.get(ends[0]!)).toBe('alive');
      for (const socket of [staying, leaving, ...accepted]) socket.destroy();
      server.close();
    });
  }
});
