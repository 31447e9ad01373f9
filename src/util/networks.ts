import { BlockList, isIP, isIPv4 } from 'node:net';

/** A set of networks: `10.0.0.0/8`, `2001:db8::/32`, or a single address. */
export class Networks {
  readonly #list = new BlockList();
  readonly isEmpty: boolean;

  /** @throws TypeError for a text that is no network */
  constructor(networks: readonly string[]) {
    this.isEmpty = networks.length === 0;
    for (const text of networks) {
      const network = parseNetwork(text);
      if (network === undefined) throw new TypeError(`${JSON.stringify(text)} is no network`);
      this.#list.addSubnet(network.address, network.prefix, network.family);
    }
  }

  /** An IPv4 address in its IPv6 form (`::ffff:192.0.2.1`) counts as what it is. */
  has(address: string): boolean {
    if (this.isEmpty) return false;
    const plain = unmapped(address);
    return this.#list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6');
  }
}

/** `::ffff:192.0.2.1` → `192.0.2.1`; anything else as it is. */
export function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

export function isNetwork(text: string): boolean {
  return parseNetwork(text) !== undefined;
}

function parseNetwork(text: string) {
  const [address, prefix, ...more] = text.split('/') as [string, string | undefined];
  const version = isIP(address);
  if (version === 0 || address.includes('%') || more.length > 0) return undefined;
  const bits = version === 4 ? 32 : 128;
  if (prefix !== undefined && !/^\d{1,3}$/.test(prefix)) return undefined;
  const length = prefix === undefined ? bits : Number(prefix);
  if (length > bits) return undefined;
  return { address, prefix: length, family: version === 4 ? ('ipv4' as const) : ('ipv6' as const) };
}
