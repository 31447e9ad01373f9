import type { MessagePropertyHeaders } from 'amqplib';

/** About what V8 takes for one entry of a table or an array, beside what is in it. */
const ENTRY_BYTES = 96;
/** Those of the wire contract and a few more are part of what every reply is counted with. */
const COVERED_BYTES = 1_024;

/**
 * About what a message's headers take in memory beyond what every reply is counted with; 0 for all but large ones. A
 * table can be twenty times as large in memory as on the wire. Pure.
 */
export function headerBytes(headers: MessagePropertyHeaders | undefined): number {
  let bytes = 0;
  // Of any depth, so it is not walked through by recursion; and every reply passes here, so most make no list.
  let unread: object[] | undefined;
  for (let table: object | undefined = headers; table !== undefined; table = unread?.pop()) {
    for (const name in table) {
      const value: unknown = table[name as keyof typeof table];
      bytes += ENTRY_BYTES + name.length;
      if (typeof value === 'string') bytes += value.length;
      else if (Buffer.isBuffer(value)) {
        // It is a view of what was read from the socket with it, and keeps all of that.
        bytes += value.buffer.byteLength;
      } else if (typeof value === 'object' && value !== null) {
        unread ??= [];
        unread.push(value);
      }
    }
  }
  return Math.max(0, bytes - COVERED_BYTES);
}
