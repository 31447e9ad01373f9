import { connect, type Socket } from 'node:net';
import { Schedule } from './schedule.ts';
import type { SlowCounts, SlowShare } from './slow-sockets.ts';

/** A process of clients that begin a TLS handshake a byte at a time; forked by SlowSockets. */

/** The head of a ClientHello that is never completed: a record of 512 bytes, and a handshake message within it. */
const HELLO = Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), Buffer.alloc(505)]);
const BYTE_EVERY_MS = 1_000;
const REPORT_EVERY_MS = 500;
const TICK_MS = 20;

process.once('message', (share: SlowShare) => begin(share));
process.on('disconnect', () => process.exit());

function begin({ host, port, sources, count, ratePerS, index, processes }: SlowShare): void {
  const open = new Map<Socket, number>();
  const counts = { opened: 0, ended: 0 };
  const connectOne = (n: number) => {
    const localAddress = sources[n % sources.length];
    const socket = connect({ host, port, noDelay: true, ...(localAddress && { localAddress }) });
    socket.on('error', () => {}); // Its close follows.
    socket.on('connect', () => {
      counts.opened++;
      open.set(socket, 0);
    });
    socket.on('close', () => {
      open.delete(socket);
      counts.ended++;
    });
    socket.resume();
  };
  const schedule = Schedule.share(performance.now(), ratePerS, count, index, processes);
  const connecting = setInterval(() => {
    // The clients of all processes take the addresses in turn.
    for (let n = schedule.taken; schedule.take(performance.now()) !== undefined; n++)
      connectOne(n * processes + index);
    if (schedule.done) clearInterval(connecting);
  }, TICK_MS);
  setInterval(() => {
    for (const [socket, sent] of open) {
      if (sent === HELLO.length) continue;
      socket.write(HELLO.subarray(sent, sent + 1));
      open.set(socket, sent + 1);
    }
  }, BYTE_EVERY_MS);
  setInterval(() => {
    const now: SlowCounts = { ...counts, open: open.size };
    if (process.connected) process.send!(now);
  }, REPORT_EVERY_MS);
}
