import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:tls';

/**
 * `bare-server.mjs HOST PORT WORKERS READY_FILE`: the least that a Node program does to hold TLS connections and
 * send back what they bring. Plain JavaScript, so that no loader of another language costs anything.
 */

const BACKLOG = 4096;
const TICKET_KEY_BYTES = 48;

const [host, port, workers, readyFile] = process.argv.slice(2);
if (cluster.isPrimary) lead();
else serve();

function lead() {
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  // One key for all, so that a session can be resumed in another process.
  const environment = { TICKET_KEYS: randomBytes(TICKET_KEY_BYTES).toString('hex') };
  let listening = 0;
  for (let i = 0; i < Number(workers); i++) cluster.fork(environment);
  cluster.on('listening', () => {
    listening++;
    if (listening === Number(workers)) writeFileSync(readyFile, '');
  });
  cluster.on('exit', (_, code) => process.exit(code || 1));
}

function serve() {
  const server = createServer({
    cert: readFileSync('cert.pem'),
    key: readFileSync('key.pem'),
    minVersion: 'TLSv1.2',
    sessionIdContext: 'bare',
    ticketKeys: Buffer.from(process.env.TICKET_KEYS, 'hex'),
    noDelay: true,
  });
  server.on('secureConnection', (socket) => {
    socket.on('data', echo);
    socket.on('error', ignore);
  });
  server.on('tlsClientError', (_, socket) => socket.destroy());
  server.listen({ host, port: Number(port), backlog: BACKLOG });
}

function echo(chunk) {
  this.write(chunk);
}

function ignore() {}
