import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { descriptorLimit, descriptorsPerProcess } from './descriptors.ts';
import type { Peer, PeerCertificates, PeerOptions } from './peer.ts';
import { PeerProcess } from './peer-process.ts';
import { askVersion, requireProgram } from './program.ts';

/** MQTT 3.1.1 CONNECT: clean session, keep alive off, the client id left to the broker. */
const CONNECT = Buffer.from([
  ...[0x10, 12],
  ...[0x00, 4, ...Buffer.from('MQTT'), 4],
  ...[0x02, 0, 0],
  ...[0, 0],
]);

/** Mosquitto, an MQTT broker, with a TLS listener. Does not echo. */
export async function startMosquitto(certificates: PeerCertificates, options: PeerOptions): Promise<Peer> {
  const program = requireProgram('mosquitto', 'mosquitto');
  const limit = descriptorLimit();
  if (descriptorsPerProcess(options.maxConnections, 1, 1) > limit) {
    throw new Error(
      `mosquitto is one process, which may have ${limit} descriptors here: too few for ${options.maxConnections} connections`,
    );
  }
  return PeerProcess.start(
    {
      name: 'mosquitto',
      version: await askVersion(program, '-h', /version (\S+)/),
      program,
      processes: 1,
      hello: CONNECT,
      notes: ['one thread for all connections, and a backlog of 100 that cannot be set'],
      configure: (dir, host, port) => {
        writeFileSync(join(dir, 'mosquitto.conf'), configuration(host, port));
        return ['-c', 'mosquitto.conf'];
      },
    },
    certificates,
    options,
  );
}

function configuration(host: string, port: number): string {
  return `${process.getuid?.() === 0 ? 'user root' : ''}
listener ${port} ${host}
certfile cert.pem
keyfile key.pem
allow_anonymous true
persistence false
max_connections -1
set_tcp_nodelay true
sys_interval 0
connection_messages false
log_dest stderr
log_type error
`;
}
