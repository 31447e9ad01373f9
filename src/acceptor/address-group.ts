import { unmapped } from '../util/networks.ts';

/**
 * What limits per address count by: an IPv4 address (also in its IPv6 form), or the /64 network of an IPv6 address,
 * which is the least that a site gets, and which one device can walk through at will. Pure.
 */
export function addressGroup(address: string): string {
  const plain = unmapped(address);
  if (!plain.includes(':')) return plain;
  const [head, tail] = plain.split('%')[0]!.split('::') as [string, string | undefined];
  const front = words(head);
  const back = words(tail ?? '');
  // `::` stands for as many zeros as are missing; a dotted end stands for two words.
  const written = front.length + back.length + (plain.includes('.') ? 1 : 0);
  const all = [...front, ...new Array<string>(Math.max(0, 8 - written)).fill('0'), ...back];
  return `${all
    .slice(0, 4)
    .map((word) => Number.parseInt(word, 16).toString(16))
    .join(':')}::/64`;
}

function words(text: string): string[] {
  return text === '' ? [] : text.split(':');
}
