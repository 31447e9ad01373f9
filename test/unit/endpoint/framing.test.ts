import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createDecoder,
  encodeFrame,
  encodingProblem,
  type FrameDecoder,
  FrameTooLargeError,
  type FramingName,
  frameOverhead,
} from '../../../src/endpoint/framing.ts';

const FRAMINGS: FramingName[] = ['line', 'u8', 'u16', 'u32'];
const PREFIXES = { u8: 1, u16: 2, u32: 4 } as const;
const CAP = 300;

/** Bodies that the framing can carry, many of them made of the bytes that are special to lines. */
function bodiesOf(framing: FramingName): fc.Arbitrary<Buffer[]> {
  const byte = fc.oneof(fc.constantFrom(0x0d, 0x00, 0xff, 0x41), fc.nat(255));
  const carried = byte.map((value) => (framing === 'line' && value === 0x0a ? 0x0b : value));
  return fc.array(
    fc.array(carried, { maxLength: 255, size: 'medium' }).map((bytes) => Buffer.from(bytes)),
    { maxLength: 20 },
  );
}

function encode(framing: FramingName, bodies: readonly Buffer[]): Buffer {
  const overhead = bodies.length * frameOverhead(framing);
  const stream = Buffer.alloc(bodies.reduce((sum, body) => sum + body.length, overhead));
  let offset = 0;
  for (const body of bodies) offset = encodeFrame(framing, body, stream, offset);
  expect(offset).toBe(stream.length);
  return stream;
}

/** What a decoder makes of a body: lines lose one CR before their LF. */
function received(framing: FramingName, body: Buffer): Buffer {
  return framing === 'line' && body.at(-1) === 0x0d ? body.subarray(0, -1) : body;
}

/** Chunks of the given sizes, again and again until the stream is used up; each in memory of its own. */
function cut(stream: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let from = 0; from < stream.length; from += chunks.at(-1)!.length) {
    chunks.push(Buffer.from(stream.subarray(from, from + sizes[chunks.length % sizes.length]!)));
  }
  return chunks;
}

function pullAll(decoder: FrameDecoder): Buffer[] {
  const frames: Buffer[] = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame);
  return frames;
}

function hex(frames: readonly Buffer[]): string[] {
  return frames.map((frame) => frame.toString('hex'));
}

const chunkSizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 400 })), {
  minLength: 1,
});

describe.each(FRAMINGS)('framing %s', (framing) => {
  test('gives back what was encoded, wherever the stream is cut', () => {
    fc.assert(
      fc.property(bodiesOf(framing), chunkSizes, (bodies, sizes) => {
        const decoder = createDecoder(framing, CAP);
        const frames: Buffer[] = [];
        for (const chunk of cut(encode(framing, bodies), sizes)) {
          decoder.push(chunk);
          frames.push(...pullAll(decoder));
        }
        // Compared only now: later pushes must not have changed earlier frames.
        expect(hex(frames)).toEqual(hex(bodies.map((body) => received(framing, body))));
        expect(decoder.bufferedBytes).toBe(0);
      }),
    );
  });

  test('gives back the same when frames are pulled one at a time with pushes in between', () => {
    const pulls = fc.array(fc.nat(3), { minLength: 1 });
    fc.assert(
      fc.property(bodiesOf(framing), chunkSizes, pulls, (bodies, sizes, counts) => {
        const decoder = createDecoder(framing, CAP);
        const stream = encode(framing, bodies);
        const frames: Buffer[] = [];
        let unpulled = 0;
        for (const [index, chunk] of cut(stream, sizes).entries()) {
          decoder.push(chunk);
          unpulled += chunk.length;
          for (let n = counts[index % counts.length]!; n > 0; n--) {
            const before = decoder.bufferedBytes;
            const frame = decoder.next();
            if (frame === undefined) break;
            frames.push(frame);
            unpulled -= before - decoder.bufferedBytes;
          }
          expect(decoder.bufferedBytes).toBe(unpulled);
        }
        expect(decoder.pending()).toEqual({ frames: bodies.length - frames.length, rest: 0 });
        decoder.push(Buffer.of(1));
        expect(decoder.pending()).toEqual({ frames: bodies.length - frames.length, rest: 1 });
        frames.push(...pullAll(decoder));
        expect(hex(frames)).toEqual(hex(bodies.map((body) => received(framing, body))));
      }),
    );
  });

  test('takes empty frames for frames', () => {
    const decoder = createDecoder(framing, CAP);
    decoder.push(encode(framing, [Buffer.alloc(0), Buffer.from('a'), Buffer.alloc(0)]));
    expect(pullAll(decoder).map(String)).toEqual(['', 'a', '']);
  });

  test('takes a frame as large as the limit, whole or byte by byte', () => {
    const cap = 200;
    const body = Buffer.alloc(cap, 'x');
    for (const sizes of [[1], [1_000]]) {
      const decoder = createDecoder(framing, cap);
      const frames: Buffer[] = [];
      for (const chunk of cut(encode(framing, [body, body]), sizes)) {
        decoder.push(chunk);
        frames.push(...pullAll(decoder));
      }
      expect(hex(frames)).toEqual(hex([body, body]));
    }
  });

  test('refuses a frame of one byte more', () => {
    const cap = 200;
    const decoder = createDecoder(framing, cap);
    decoder.push(encode(framing, [Buffer.from('fine'), Buffer.alloc(cap + 1, 'x')]));
    expect(decoder.next()?.toString()).toBe('fine');
    expect(thrownBy(() => decoder.next())).toMatchObject({ limit: cap, value: cap + 1 });
  });

  test('refuses a frame that is far too large before it is buffered', () => {
    const cap = 40;
    const decoder = createDecoder(framing, cap);
    const stream = encode(framing, [Buffer.alloc(255, 'x')]);
    let pushed = 0;
    const error = thrownBy(() => {
      for (const byte of cut(stream, [1])) {
        pushed++;
        decoder.push(byte);
        expect(decoder.next()).toBeUndefined();
      }
    });
    expect(error).toMatchObject({ limit: cap });
    expect(error!.value).toBeGreaterThan(cap);
    // A line can be one byte longer as long as that byte may turn out to be the CR before its LF.
    expect(pushed).toBe(framing === 'line' ? cap + 2 : PREFIXES[framing]);
  });

  test('lets go of a large chunk of which a little is left', () => {
    const garbageCollect = exposeGarbageCollector();
    const chunkBytes = 65_536;
    const decoders: FrameDecoder[] = [];
    garbageCollect();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 200; i++) {
      const decoder = createDecoder(framing, 1_000);
      decoder.push(chunkThatEndsWithin(framing, chunkBytes));
      pullAll(decoder);
      expect(decoder.bufferedBytes).toBeGreaterThan(0);
      decoders.push(decoder);
    }
    garbageCollect();
    const perDecoder = (process.memoryUsage().arrayBuffers - before) / decoders.length;
    expect(perDecoder).toBeLessThan(chunkBytes / 2);
  });
});

describe('framing line', () => {
  test('drops one CR before the LF, and no other', () => {
    const decoder = createDecoder('line', CAP);
    decoder.push(Buffer.from('a\r\nb\r\r\n\r\n\rc\nd\n'));
    expect(pullAll(decoder).map((frame) => JSON.stringify(frame.toString()))).toEqual(
      ['a', 'b\r', '', '\rc', 'd'].map((text) => JSON.stringify(text)),
    );
  });

  test('takes a line as large as the limit that ends with CR LF, cut anywhere', () => {
    const line = Buffer.concat([Buffer.alloc(50, 'x'), Buffer.from('\r\n')]);
    for (let at = 1; at < line.length; at++) {
      const decoder = createDecoder('line', 50);
      decoder.push(line.subarray(0, at));
      expect(decoder.next()).toBeUndefined();
      decoder.push(line.subarray(at));
      expect(decoder.next()).toHaveLength(50);
    }
  });

  test('takes a long line byte by byte in linear time', () => {
    const bytes = 2 ** 20;
    const decoder = createDecoder('line', bytes);
    const byte = Buffer.from('x');
    for (let i = 0; i < bytes; i++) {
      decoder.push(byte);
      if (decoder.next() !== undefined) throw new Error('a line without its end');
    }
    decoder.push(Buffer.from('\n'));
    expect(decoder.next()?.equals(Buffer.alloc(bytes, 'x'))).toBe(true);
  });

  test('takes a chunk of very many short lines in linear time', () => {
    const lines = 500_000;
    const decoder = createDecoder('line', CAP);
    decoder.push(Buffer.from('x'));
    decoder.push(Buffer.from('\n'.repeat(lines)));
    expect(pullAll(decoder)).toHaveLength(lines);
  });
});

test('a prefix of 32 bits is not mistaken for a negative number', () => {
  const decoder = createDecoder('u32', CAP);
  decoder.push(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  expect(thrownBy(() => decoder.next())).toMatchObject({ limit: CAP, value: 0xffff_ffff });
});

describe('a body that cannot be sent as one frame', () => {
  test('is, for lines, one with a line feed in it', () => {
    expect(encodingProblem('line', Buffer.from('two\nlines'))).toContain('byte 3');
    expect(encodingProblem('line', Buffer.from('one line\r'))).toBeUndefined();
  });

  test.each([
    ['u8', 0xff],
    ['u16', 0xffff],
  ] as const)('is, for %s, one of more than %d bytes', (framing, largest) => {
    expect(encodingProblem(framing, Buffer.alloc(largest, '\n'))).toBeUndefined();
    expect(encodingProblem(framing, Buffer.alloc(largest + 1))).toContain(String(largest));
    const frame = encode(framing, [Buffer.alloc(largest)]);
    expect(frame.readUIntBE(0, PREFIXES[framing])).toBe(largest);
  });
});

function thrownBy(act: () => void): FrameTooLargeError | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof FrameTooLargeError) return error;
    throw error;
  }
  return undefined;
}

/** Whole frames, and the beginning of one at the end. */
function chunkThatEndsWithin(framing: FramingName, bytes: number): Buffer {
  const chunk = Buffer.allocUnsafeSlow(bytes);
  const frame = encode(framing, [Buffer.alloc(9, 'x')]);
  // One byte of the last frame is left; of a wider prefix, that byte alone.
  const end = bytes - (bytes % frame.length) - frame.length + 1;
  return chunk.fill(frame).subarray(0, end);
}

function exposeGarbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
