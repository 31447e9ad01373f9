import type { MessagePropertyHeaders } from 'amqplib';

/** About what V8 takes for one entry of a table or an array, beside what is in it. */
const ENTRY_BYTES = 96;
/** Those of the wire contract and a few more are part of what every reply is counted with. */
const COVERED_BYTES = 1_024;

type Table = Record<string, unknown>;

/**
 * About what a message's headers take in memory beyond what every reply is counted with; 0 for all but large ones. A
 * table can be twenty times as large in memory as on the wire. Pure.
 */
export function headerBytes(headers: MessagePropertyHeaders | undefined): number {
  let bytes = 0;
  forEachEntry(headers, (_, name, value) => {
    bytes += ENTRY_BYTES + name.length;
    if (typeof value === 'string' || Buffer.isBuffer(value)) bytes += value.length;
  });
  return Math.max(0, bytes - COVERED_BYTES);
}

/** Copies bytes in headers out of the network buffer that they are a view of, and would keep as a whole. */
export function detachHeaders(headers: MessagePropertyHeaders | undefined): void {
  forEachEntry(headers, (table, name, value) => {
    if (Buffer.isBuffer(value)) table[name] = Buffer.from(value);
  });
}

/** Of tables and arrays of any depth: without recursion, and without a list for most, as every reply passes here. */
function forEachEntry(
  headers: MessagePropertyHeaders | undefined,
  visit: (table: Table, name: string, value: unknown) => void,
): void {
  let unread: Table[] | undefined;
  for (let table: Table | undefined = headers; table !== undefined; table = unread?.pop()) {
    for (const name in table) {
      const value = table[name];
      visit(table, name, value);
      if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) continue;
      unread ??= [];
      unread.push(value as Table);
    }
  }
}
