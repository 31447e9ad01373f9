import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ProxyHeader,
  ProxyHeaderError,
  ProxyHeaderParser,
} from '../../../src/acceptor/proxy-protocol.ts';

const MAX_BYTES = 600;
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A header of version 2 as the specification lays it out. */
function version2(command: number, family: number, addresses: Buffer, tlvs = Buffer.alloc(0)): Buffer {
  const head = Buffer.from([command, family, 0, 0]);
  head.writeUInt16BE(addresses.length + tlvs.length, 2);
  return Buffer.concat([SIGNATURE, head, addresses, tlvs]);
}

function ends(source: Buffer, target: Buffer, sourcePort: number, targetPort: number): Buffer {
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(sourcePort, 0);
  ports.writeUInt16BE(targetPort, 2);
  return Buffer.concat([source, target, ports]);
}

/** Feeds the bytes in pieces of these sizes, the last of which is repeated. */
function parse(bytes: Buffer, sizes: readonly number[] = [bytes.length]): ProxyHeader | undefined {
  const parser = new ProxyHeaderParser(MAX_BYTES);
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    const size = sizes[Math.min(piece, sizes.length - 1)]!;
    const header = parser.push(bytes.subarray(at, at + size));
    at += size;
    if (header !== undefined) return { ...header, rest: Buffer.concat([header.rest, bytes.subarray(at)]) };
  }
  return undefined;
}

const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 });
const port = fc.nat(65_535);
const rest = fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes));
const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 });
const HELLO = Buffer.from([22, 3, 1, 0, 0]);

describe('the PROXY header', () => {
  test.each([
    ['PROXY TCP4 192.0.2.1 198.51.100.7 56324 443', '192.0.2.1', 56_324],
    ['PROXY TCP6 2001:db8::1 ::1 1 2', '2001:db8::1', 1],
    ['PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535', '::ffff:192.0.2.1', 0],
    ['PROXY TCP6 1:2:3:4:5:6:7:8 :: 9 9', '1:2:3:4:5:6:7:8', 9],
  ])('of version 1 names the source: %s', (line, address, port) => {
    const bytes = Buffer.concat([Buffer.from(`${line}\r\n`), HELLO]);
    expect(parse(bytes)).toEqual({ source: { address, port }, rest: HELLO });
    expect(parse(bytes, [1])).toEqual({ source: { address, port }, rest: HELLO });
  });

  test.each(['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n'])(
    'of version 1 may know nothing: %j',
    (line) => {
      expect(parse(Buffer.concat([Buffer.from(line), HELLO]), [1])).toEqual({
        source: undefined,
        rest: HELLO,
      });
    },
  );

  test.each([
    'GET / HTTP/1.1\r\n',
    'PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n',
    'PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n',
    'PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n',
    'PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 -1\r\n',
    'PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n',
    'PROXY TCP4 1.2.3.4  1 1\r\n',
    'PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n',
    'PROXY TCP6 1::2::3 ::1 1 1\r\n',
    'PROXY TCP6 1:2:3:4:5:6:7 ::1 1 1\r\n',
    'PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1\r\n',
    'PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n',
    'PROXY \r\n',
    `PROXY ${'x'.repeat(107)}`,
    'proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n',
    '\x16\x03\x01',
  ])('is refused when it is wrong: %j', (text) => {
    expect(() => parse(Buffer.from(text, 'latin1'), [1])).toThrow(ProxyHeaderError);
  });

  test('of version 2 names the source, in whatever pieces it comes, TLVs or none', () => {
    fc.assert(
      fc.property(v4, v4, port, port, rest, rest, sizes, (source, target, from, to, tlvs, rest, sizes) => {
        const header = version2(0x21, 0x11, ends(Buffer.from(source), Buffer.from(target), from, to), tlvs);
        const parsed = parse(Buffer.concat([header, rest]), sizes);
        expect(parsed).toEqual({ source: { address: source.join('.'), port: from }, rest });
      }),
    );
    fc.assert(
      fc.property(v6, v6, port, port, rest, rest, sizes, (source, target, from, to, tlvs, rest, sizes) => {
        const header = version2(0x21, 0x21, ends(Buffer.from(source), Buffer.from(target), from, to), tlvs);
        const parsed = parse(Buffer.concat([header, rest]), sizes)!;
        const words = parsed.source!.address.split(':').map((word) => word.padStart(4, '0'));
        if (!parsed.source!.address.includes('.'))
          expect(words.join('')).toBe(Buffer.from(source).toString('hex'));
        expect(parsed.source!.port).toBe(from);
        expect(parsed.rest).toEqual(rest);
      }),
    );
  });

  test('of version 2 writes a mapped address as sockets do', () => {
    const mapped = Buffer.from('00000000000000000000ffffc0000201', 'hex');
    const header = version2(0x21, 0x21, ends(mapped, mapped, 7, 8));
    expect(parse(header)?.source).toEqual({ address: '::ffff:192.0.2.1', port: 7 });
  });

  test.each([
    ['LOCAL, which may carry anything', version2(0x20, 0x11, Buffer.from('anything'))],
    ['LOCAL with nothing', version2(0x20, 0, Buffer.alloc(0))],
    ['UNSPEC', version2(0x21, 0, Buffer.alloc(0))],
    ['UDP', version2(0x21, 0x12, Buffer.alloc(12))],
    ['a Unix socket', version2(0x21, 0x31, Buffer.alloc(216))],
  ])('of version 2 may have no source: %s', (_, header) => {
    expect(parse(Buffer.concat([header, HELLO]), [1])).toEqual({ source: undefined, rest: HELLO });
  });

  test.each([
    ['another version', version2(0x11, 0x11, Buffer.alloc(12))],
    ['another command', version2(0x22, 0x11, Buffer.alloc(12))],
    ['too short for IPv4', version2(0x21, 0x11, Buffer.alloc(11))],
    ['too short for IPv6', version2(0x21, 0x21, Buffer.alloc(35))],
    ['too long', version2(0x21, 0x11, Buffer.alloc(12), Buffer.alloc(MAX_BYTES))],
    ['a bad signature', Buffer.concat([SIGNATURE.subarray(0, 11), Buffer.alloc(20)])],
  ])('of version 2 is refused: %s', (_, header) => {
    expect(() => parse(header, [1])).toThrow(ProxyHeaderError);
  });

  test('never does worse than refuse, and never keeps more than its size', () => {
    const mostlyHeader = fc.tuple(
      fc.constantFrom(Buffer.from('PROXY '), SIGNATURE, Buffer.from('PROXY TCP4 '), Buffer.alloc(0)),
      fc.uint8Array({ maxLength: 1_000 }),
    );
    fc.assert(
      fc.property(mostlyHeader, sizes, ([start, noise], sizes) => {
        const bytes = Buffer.concat([start, noise]);
        const longest = Math.max(...sizes);
        const parser = new ProxyHeaderParser(MAX_BYTES);
        try {
          for (let at = 0; at < bytes.length; at += longest) {
            if (parser.push(bytes.subarray(at, at + longest)) !== undefined) return;
            expect(at).toBeLessThan(MAX_BYTES);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ProxyHeaderError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
