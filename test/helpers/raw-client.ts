import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { within } from './eventually.ts';

/** A client that speaks TCP and no TLS of its own: what it sends is up to the test. */
export class RawClient {
  readonly socket: Socket;
  readonly localPort: number;
  /** Settles when the socket is closed, with the code of its error, if there was one. */
  readonly closed: Promise<string | undefined>;

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    await within('TCP connection', once(socket, 'connect'));
    return new RawClient(socket);
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    this.localPort = socket.localPort!;
    let code: string | undefined;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code;
    });
    socket.resume(); // What the gateway says is of no interest, but its end must be seen.
    this.closed = new Promise((resolve) => {
      socket.once('close', () => resolve(code));
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The first flight of a TLS client: a whole ClientHello. */
export async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = connectTls({ host: '127.0.0.1', port });
  client.on('error', () => {});
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const [hello] = (await once(accepted, 'data')) as [Buffer];
  client.destroy();
  accepted.destroy();
  server.close();
  return hello;
}
