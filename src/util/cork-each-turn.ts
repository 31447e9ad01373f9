import type { Socket } from 'node:net';

/**
 * amqplib hands the socket one buffer a message, each of which would be a system call. Corking until the end of
 * the turn makes one writev of all that a turn has sent.
 */
export function corkEachTurn(socket: Socket): void {
  const write = socket.write;
  const uncork = () => socket.uncork();
  socket.write = function corked(this: Socket, ...args: Parameters<typeof write>) {
    if (socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(uncork);
    }
    return write.apply(this, args);
  } as typeof write;
}
