import { isIPv4 } from 'node:net';

/**
 * Addresses that devices connect from, since one address has about 28,000 ports. Pure.
 * @param text addresses and ranges (`127.0.1.1-127.0.1.64`), or `auto`: 64 of 127.0.1.x towards a loopback address,
 *   else whatever the kernel picks
 * @returns nothing for what the kernel picks; `undefined` when the text means nothing
 */
export function sourceAddresses(texts: readonly string[], host: string): string[] | undefined {
  if (texts.length === 1 && texts[0] === 'auto') {
    return host.startsWith('127.') ? range('127.0.1.1', '127.0.1.64') : [];
  }
  const addresses: string[] = [];
  for (const text of texts) {
    const [first = '', last = first] = text.split('-');
    const found = isIPv4(first) && isIPv4(last) ? range(first, last) : undefined;
    if (found === undefined) return undefined;
    addresses.push(...found);
  }
  return addresses;
}

const MOST = 65_536;

function range(first: string, last: string): string[] | undefined {
  const [from, to] = [numberOf(first), numberOf(last)];
  if (to < from || to - from >= MOST) return undefined;
  return Array.from({ length: to - from + 1 }, (_, i) => textOf(from + i));
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function textOf(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}
