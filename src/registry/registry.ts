import type { Reply } from '../reply.ts';
import { type NodeId, ownerOf } from './connection-id.ts';

/** A connection of this node that replies can be given to. */
export interface ReplyTarget {
  readonly connectionId: string;
  deliver(reply: Reply): void;
}

/**
 * Where connections are. Guarantees, for every implementation:
 *
 * - `find` knows exactly the connections of this node that were registered and not unregistered; a connection
 *   unregisters in the same turn in which it stops taking replies.
 * - `ownerOf` never waits and never changes its mind: the owner is part of the id. It does not say that the
 *   owner or the connection still exists.
 * - `unregister` is fenced: it removes the very connection it is given, never a later one in its place.
 *
 * Replies addressed by `device_id` will need `findDevice(deviceId): Promise<connectionId | undefined>`, backed by
 * a directory that the register and unregister calls feed; `deviceId` is handed in for that.
 */
export interface Registry<T extends ReplyTarget> {
  register(target: T, deviceId: string | undefined): void;
  unregister(target: T, deviceId: string | undefined): void;
  find(connectionId: string): T | undefined;
  /** The node in the id, or `undefined` when the text is not a connection id. */
  ownerOf(connectionId: string): NodeId | undefined;
  readonly size: number;
  /** The registered connections, in order of registration. */
  targets(): IterableIterator<T>;
}

/** This node's connections in a table, everybody else's by their id. */
export class LocalRegistry<T extends ReplyTarget> implements Registry<T> {
  readonly #targets = new Map<string, T>();

  register(target: T): void {
    this.#targets.set(target.connectionId, target);
  }

  unregister(target: T): void {
    if (this.#targets.get(target.connectionId) === target) this.#targets.delete(target.connectionId);
  }

  find(connectionId: string): T | undefined {
    return this.#targets.get(connectionId);
  }

  ownerOf(connectionId: string): NodeId | undefined {
    return ownerOf(connectionId);
  }

  get size(): number {
    return this.#targets.size;
  }

  targets(): IterableIterator<T> {
    return this.#targets.values();
  }
}
