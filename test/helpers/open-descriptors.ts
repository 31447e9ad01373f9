import { readdirSync, readlinkSync } from 'node:fs';

/** How many sockets a process holds open; of a connection that is gone, none must be left. */
export function openSockets(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  let count = 0;
  for (const descriptor of readdirSync(folder)) {
    try {
      if (readlinkSync(`${folder}/${descriptor}`).startsWith('socket:')) count++;
    } catch {
      // Closed since it was listed.
    }
  }
  return count;
}
