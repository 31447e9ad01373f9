import { createServer } from 'node:net';

/** Sends back what it gets, over plain TCP, on a free port that it prints. */

const BACKLOG = 4096;

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {}); // Followed by its close.
  socket.pipe(socket);
});
server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, () => {
  process.stdout.write(`${server.address().port}\n`);
});
