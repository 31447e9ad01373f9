import { type PeerName, startPeer } from '../../bench/peers/peer.ts';

/** `hold-peer.ts NAME CERT KEY`: starts a peer, says so, and stays until it is killed. */
const [name, cert, key] = process.argv.slice(2);
await startPeer(name as PeerName, { cert: cert!, key: key! }, { workers: 2, maxConnections: 100 });
console.log('started');
setInterval(() => {}, 1_000_000);
