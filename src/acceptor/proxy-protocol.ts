/**
 * The header that a load balancer puts before the first byte of a connection, to say whose connection it is
 * (HAProxy's "The PROXY protocol", versions 1 and 2). Pure, and fed as the bytes come.
 */
export interface ProxyHeader {
  /**
   * The device's own end. `undefined` where the balancer speaks for itself (LOCAL: a health check) or does not know
   * (UNKNOWN, UNSPEC, a Unix socket): then the ends of the TCP connection itself count.
   */
  readonly source: { readonly address: string; readonly port: number } | undefined;
  /** What came behind the header, and belongs to the device. */
  readonly rest: Buffer;
}

export class ProxyHeaderError extends Error {}

const V2_SIGNATURE = Buffer.from([13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10]);
const V1_SIGNATURE = Buffer.from('PROXY ');
/** Everything up to the length field. */
const V2_FIXED_BYTES = 16;
/** Including the CRLF; the longest header that version 1 knows. */
const V1_MAX_BYTES = 107;

const V2_LOCAL = 0x20;
const V2_PROXY = 0x21;
const V2_TCP4 = 0x11;
const V2_TCP6 = 0x21;
const V2_TCP4_BYTES = 12;
const V2_TCP6_BYTES = 36;

export class ProxyHeaderParser {
  readonly #maxBytes: number;
  #bytes: Buffer = Buffer.alloc(0);

  /** @param maxBytes largest header of version 2, TLVs included */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Takes the next bytes; returns the header once it is complete.
   * @throws ProxyHeaderError as soon as the bytes cannot become a header within the size
   */
  push(chunk: Buffer): ProxyHeader | undefined {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    if (this.#startsLike(V2_SIGNATURE)) return this.#version2();
    if (this.#startsLike(V1_SIGNATURE)) return this.#version1();
    throw new ProxyHeaderError('no PROXY signature');
  }

  #startsLike(signature: Buffer): boolean {
    const length = Math.min(this.#bytes.length, signature.length);
    return this.#bytes.compare(signature, 0, length, 0, length) === 0;
  }

  #version1(): ProxyHeader | undefined {
    const end = this.#bytes.subarray(0, V1_MAX_BYTES).indexOf('\r\n');
    if (end === -1) {
      if (this.#bytes.length >= V1_MAX_BYTES) throw new ProxyHeaderError('version 1 header without an end');
      return undefined;
    }
    const rest = this.#bytes.subarray(end + 2);
    const [, family, source, target, sourcePort, targetPort, ...more] = this.#bytes
      .toString('latin1', 0, end)
      .split(' ');
    // What follows UNKNOWN is to be ignored.
    if (family === 'UNKNOWN') return { source: undefined, rest };
    const isAddress = family === 'TCP4' ? isIpv4 : family === 'TCP6' ? isIpv6 : undefined;
    if (isAddress === undefined) throw new ProxyHeaderError('unknown family in a version 1 header');
    const isSound =
      more.length === 0 && isAddress(source) && isAddress(target) && isPort(sourcePort) && isPort(targetPort);
    if (!isSound) throw new ProxyHeaderError('bad address or port in a version 1 header');
    return { source: { address: source!, port: Number(sourcePort) }, rest };
  }

  #version2(): ProxyHeader | undefined {
    const bytes = this.#bytes;
    if (bytes.length < V2_FIXED_BYTES) return undefined;
    const command = bytes[12];
    if (command !== V2_LOCAL && command !== V2_PROXY)
      throw new ProxyHeaderError('unknown version or command in a version 2 header');
    const length = bytes.readUInt16BE(14);
    const total = V2_FIXED_BYTES + length;
    if (total > this.#maxBytes)
      throw new ProxyHeaderError(`version 2 header of ${total} bytes; at most ${this.#maxBytes} are taken`);
    if (bytes.length < total) return undefined;
    const rest = bytes.subarray(total);
    if (command === V2_LOCAL) return { source: undefined, rest };
    const addresses = bytes.subarray(V2_FIXED_BYTES, total);
    switch (bytes[13]) {
      case V2_TCP4:
        if (length < V2_TCP4_BYTES) throw new ProxyHeaderError('version 2 header too short for IPv4');
        return {
          source: { address: addresses.subarray(0, 4).join('.'), port: addresses.readUInt16BE(8) },
          rest,
        };
      case V2_TCP6:
        if (length < V2_TCP6_BYTES) throw new ProxyHeaderError('version 2 header too short for IPv6');
        return { source: { address: ipv6Text(addresses), port: addresses.readUInt16BE(32) }, rest };
      default:
        return { source: undefined, rest };
    }
  }
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function isIpv4(text: string | undefined): boolean {
  const parts = text?.split('.') ?? [];
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/** Words in hex with at most one `::`, or the mapped form with an IPv4 address at its end. */
function isIpv6(text: string | undefined): boolean {
  if (text === undefined || !/^[0-9A-Fa-f:.]{2,45}$/.test(text)) return false;
  const lastColon = text.lastIndexOf(':');
  const hasIpv4 = text.includes('.');
  if (hasIpv4 && !isIpv4(text.slice(lastColon + 1))) return false;
  // An IPv4 address stands for two words.
  const plain = hasIpv4 ? `${text.slice(0, lastColon + 1)}0:0` : text;
  const halves = plain.split('::');
  if (halves.length > 2) return false;
  const words = halves.flatMap((half) => (half === '' ? [] : half.split(':')));
  if (!words.every((word) => /^[0-9A-Fa-f]{1,4}$/.test(word))) return false;
  return halves.length === 2 ? words.length < 8 : words.length === 8;
}

/** The mapped form in dots, as `net.Socket` writes it; else eight words without leading zeros. */
function ipv6Text(bytes: Buffer): string {
  const mapped = bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
  if (mapped) return `::ffff:${bytes.subarray(12, 16).join('.')}`;
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return words.join(':');
}
