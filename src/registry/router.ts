import type { Delivery } from '../broker/delivery.ts';
import type { NodeId } from './connection-id.ts';
import type { Registry, ReplyTarget } from './registry.ts';

/** Takes replies for the connections of other nodes. */
export interface Forwarding {
  forward(delivery: Delivery, owner: NodeId): void;
}

/** Decides where a reply goes: to a connection here, to another node's inbox, or nowhere. */
export class Router {
  /** This node, and those whose inbox it adopted because they are gone: nothing is forwarded to them. */
  readonly #own: ReadonlySet<NodeId>;
  readonly #registry: Registry<ReplyTarget>;
  readonly #forwarding: Forwarding;

  constructor(own: ReadonlySet<NodeId>, registry: Registry<ReplyTarget>, forwarding: Forwarding) {
    this.#own = own;
    this.#registry = registry;
    this.#forwarding = forwarding;
  }

  route(delivery: Delivery): void {
    if (!delivery.parsed.ok) {
      delivery.settle('bad_headers', delivery.parsed.problem);
      return;
    }
    const { connectionId } = delivery.parsed.headers;
    const target = this.#registry.find(connectionId);
    if (target !== undefined) {
      target.deliver(delivery);
      return;
    }
    const owner = this.#registry.ownerOf(connectionId);
    if (owner === undefined) {
      delivery.settle('bad_headers', 'connection_id is not one that a gateway gave out (UUID version 6)');
    } else if (this.#own.has(owner)) {
      delivery.settle('not_connected', 'the connection has ended');
    } else {
      this.#forwarding.forward(delivery, owner);
    }
  }
}
