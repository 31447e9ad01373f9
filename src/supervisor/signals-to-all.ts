/**
 * Signals that come to every process of the gateway: a terminal sends SIGINT and SIGHUP to its whole group, and so do
 * `pkill -HUP` and `systemctl kill -s HUP`. The supervisor decides what becomes of them; a worker that died of one would
 * take its devices along. A worker imports this first; one that is still loading has no devices yet.
 */
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
