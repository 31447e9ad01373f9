import { randomBytes } from 'node:crypto';
import { v6 } from 'uuid';

/**
 * A connection's id names its owner: it is a UUID version 6 (RFC 9562, section 5.6) whose 48-bit node field is
 * the id of the gateway node that holds the connection. Any node reads the owner from the id alone.
 *
 *   1f0c6d2e-8b1a-6c40-9f3e-4b7d21c0a95e
 *   └────── time ─────┘ └─┬┘ └───┬────┘
 *                    clock seq  node id
 */

/** A node's id: 12 lower-case hex digits. */
export type NodeId = string;

const NODE_ID_BYTES = 6;
const UUID_LENGTH = 36;
const TICKS_PER_MS = 10_000;

/** A random node id with the multicast bit set, as RFC 9562 section 6.10 asks of ids that are no MAC address. */
export function randomNodeId(): NodeId {
  const bytes = randomBytes(NODE_ID_BYTES);
  bytes[0]! |= 0x01;
  return bytes.toString('hex');
}

/** The node that owns a connection, or `undefined` when the text is not a connection id. */
export function ownerOf(connectionId: string): NodeId | undefined {
  return CONNECTION_ID.test(connectionId) ? connectionId.slice(UUID_LENGTH - 2 * NODE_ID_BYTES) : undefined;
}

const CONNECTION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/**
 * Makes the connection ids of one node.
 *
 * `uuid` keeps no clock state once it is given a node, so two ids of one millisecond would differ in their
 * random clock sequence alone (14 bits) and collide within minutes at 1,000 connections a second. Hence this
 * factory counts the 100 ns ticks itself, and never lets its clock run backwards.
 */
export class ConnectionIdFactory {
  readonly #node: Uint8Array;
  readonly #clockseq: number;
  readonly #now: () => number;
  /** `uuid` draws random bytes for each id unless it is given some; the fields they would fill are all set. */
  readonly #unusedRandom = new Uint8Array(16);
  #msecs = 0;
  #ticks = 0;

  constructor(nodeId: NodeId, now: () => number = Date.now) {
    this.#node = Buffer.from(nodeId, 'hex');
    this.#clockseq = randomBytes(2).readUInt16BE() & 0x3fff;
    this.#now = now;
  }

  next(): string {
    const now = this.#now();
    if (now > this.#msecs) {
      this.#msecs = now;
      this.#ticks = 0;
    } else if (++this.#ticks === TICKS_PER_MS) {
      this.#msecs++;
      this.#ticks = 0;
    }
    return v6({
      node: this.#node,
      clockseq: this.#clockseq,
      msecs: this.#msecs,
      nsecs: this.#ticks,
      random: this.#unusedRandom,
    });
  }
}
