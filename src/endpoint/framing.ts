/**
 * Cuts a device's byte stream into frames, and wraps outgoing bodies. Bytes are never decoded.
 *
 * A decoder is pulled: `push` hands it a chunk, `next` takes one frame at a time, so that the caller can stop
 * in the middle of a chunk when the node has no room and go on later.
 */
export type FramingName = 'line' | 'u8' | 'u16' | 'u32';

export interface FrameDecoder {
  /** Adds bytes behind those not yet returned. */
  push(chunk: Buffer): void;
  /**
   * The next whole frame, or `undefined` when more bytes are needed. The frame is a view into a chunk.
   * @throws FrameTooLargeError before the frame is buffered whole; the decoder is then of no further use.
   */
  next(): Buffer | undefined;
  /** Bytes that were pushed and not yet returned. After `next` returned `undefined`: a begun, incomplete frame. */
  readonly bufferedBytes: number;
  /** What is buffered: whole frames, whatever their length, and the bytes of a begun one behind them. */
  pending(): { frames: number; rest: number };
}

export class FrameTooLargeError extends Error {
  readonly limit: number;
  readonly value: number;

  constructor(limit: number, value: number) {
    super(`frame of at least ${value} bytes, at most ${limit} allowed (listen.maxFrameBytes)`);
    this.name = 'FrameTooLargeError';
    this.limit = limit;
    this.value = value;
  }
}

export function createDecoder(framing: FramingName, maxFrameBytes: number): FrameDecoder {
  return framing === 'line'
    ? new LineDecoder(maxFrameBytes)
    : new PrefixDecoder(PREFIX_BYTES[framing], maxFrameBytes);
}

/** Bytes that `encodeFrame` adds to a body. */
export function frameOverhead(framing: FramingName): number {
  return framing === 'line' ? 1 : PREFIX_BYTES[framing];
}

/** Why a body cannot be sent as one frame, or `undefined` when it can. */
export function encodingProblem(framing: FramingName, body: Buffer): string | undefined {
  if (framing === 'line') {
    const at = body.indexOf(LF);
    return at === -1
      ? undefined
      : `body has a line feed at byte ${at}: the device would read it as several lines`;
  }
  const largest = 2 ** (8 * PREFIX_BYTES[framing]) - 1;
  return body.length <= largest
    ? undefined
    : `body of ${body.length} bytes, framing ${framing} carries at most ${largest}`;
}

/** Writes one frame into `target` at `offset` and returns the offset behind it. */
export function encodeFrame(framing: FramingName, body: Buffer, target: Buffer, offset: number): number {
  if (framing === 'line') {
    const end = offset + body.copy(target, offset);
    target[end] = LF;
    return end + 1;
  }
  const prefix = PREFIX_BYTES[framing];
  target.writeUIntBE(body.length, offset, prefix);
  return offset + prefix + body.copy(target, offset + prefix);
}

const LF = 0x0a;
const CR = 0x0d;
const PREFIX_BYTES = { u8: 1, u16: 2, u32: 4 };
const EMPTY = Buffer.alloc(0);

/**
 * The unread part of the stream. A frame usually lies within one chunk and is returned as a view; one that is
 * spread over chunks is gathered in a buffer that doubles, so that a device sending byte by byte costs neither
 * a chain of tiny chunks nor a copy for each.
 */
class Unread {
  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  /** True while `#buffer` is our own and has room to grow in place. */
  #owned = false;

  get length(): number {
    return this.#end - this.#start;
  }

  push(chunk: Buffer): void {
    const kept = this.length;
    if (kept === 0) {
      this.#buffer = chunk;
      this.#start = 0;
      this.#end = chunk.length;
      this.#owned = false;
      return;
    }
    const needed = kept + chunk.length;
    if (!this.#owned || this.#end + chunk.length > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(2 * needed, needed + Math.max(MAX_SLACK, needed >>> 2)));
      this.#buffer.copy(grown, 0, this.#start, this.#end);
      this.#buffer = grown;
      this.#start = 0;
      this.#end = kept;
      this.#owned = true;
    }
    chunk.copy(this.#buffer, this.#end);
    this.#end += chunk.length;
  }

  /** Offset of a byte value relative to the unread start, looking from `from` on; -1 when absent. */
  indexOf(value: number, from: number): number {
    const at = this.#buffer.subarray(0, this.#end).indexOf(value, this.#start + from);
    return at === -1 ? -1 : at - this.#start;
  }

  byteAt(offset: number): number {
    return this.#buffer[this.#start + offset]!;
  }

  readUIntBE(offset: number, bytes: number): number {
    return this.#buffer.readUIntBE(this.#start + offset, bytes);
  }

  /** Takes `skip + length + trail` bytes and returns the `length` in the middle. */
  take(skip: number, length: number, trail: number): Buffer {
    const from = this.#start + skip;
    const frame = this.#buffer.subarray(from, from + length);
    this.#start = from + length + trail;
    if (this.#start === this.#end) {
      this.#buffer = EMPTY;
      this.#start = 0;
      this.#end = 0;
      this.#owned = false;
    }
    return frame;
  }

  /** Lets go of a large chunk of which only a small rest is unread: an idle connection must not pin it. */
  compact(): void {
    // Our own buffer that nothing was taken from is still growing; cutting it would undo the doubling.
    if (this.length === 0 || (this.#owned && this.#start === 0)) return;
    if (this.length * 2 > this.#buffer.length) return;
    const rest = Buffer.allocUnsafeSlow(this.length);
    this.#buffer.copy(rest, 0, this.#start, this.#end);
    this.#buffer = rest;
    this.#start = 0;
    this.#end = rest.length;
    this.#owned = true;
  }
}

const MAX_SLACK = 65_536;

/** Lines ended by LF; a CR before it is dropped. */
class LineDecoder implements FrameDecoder {
  readonly #unread = new Unread();
  readonly #maxFrameBytes: number;
  /** How far the unread bytes are known to hold no LF. */
  #scanned = 0;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  push(chunk: Buffer): void {
    this.#unread.push(chunk);
  }

  next(): Buffer | undefined {
    const end = this.#unread.indexOf(LF, this.#scanned);
    if (end === -1) {
      this.#scanned = this.#unread.length;
      // One more byte may be the CR of a line that is just within the limit.
      if (this.#scanned > this.#maxFrameBytes + 1)
        throw new FrameTooLargeError(this.#maxFrameBytes, this.#scanned - 1);
      this.#unread.compact();
      return undefined;
    }
    const carriageReturn = end > 0 && this.#unread.byteAt(end - 1) === CR ? 1 : 0;
    const length = end - carriageReturn;
    if (length > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes, length);
    this.#scanned = 0;
    return this.#unread.take(0, length, carriageReturn + 1);
  }

  get bufferedBytes(): number {
    return this.#unread.length;
  }

  pending(): { frames: number; rest: number } {
    let frames = 0;
    let from = 0;
    for (let end = this.#unread.indexOf(LF, 0); end !== -1; end = this.#unread.indexOf(LF, from)) {
      frames++;
      from = end + 1;
    }
    return { frames, rest: this.#unread.length - from };
  }
}

/** Frames with a big-endian length before them. */
class PrefixDecoder implements FrameDecoder {
  readonly #unread = new Unread();
  readonly #prefix: number;
  readonly #maxFrameBytes: number;

  constructor(prefix: number, maxFrameBytes: number) {
    this.#prefix = prefix;
    this.#maxFrameBytes = maxFrameBytes;
  }

  push(chunk: Buffer): void {
    this.#unread.push(chunk);
  }

  next(): Buffer | undefined {
    if (this.#unread.length < this.#prefix) {
      this.#unread.compact();
      return undefined;
    }
    const length = this.#unread.readUIntBE(0, this.#prefix);
    if (length > this.#maxFrameBytes) throw new FrameTooLargeError(this.#maxFrameBytes, length);
    if (this.#unread.length < this.#prefix + length) {
      this.#unread.compact();
      return undefined;
    }
    return this.#unread.take(this.#prefix, length, 0);
  }

  get bufferedBytes(): number {
    return this.#unread.length;
  }

  pending(): { frames: number; rest: number } {
    let frames = 0;
    let from = 0;
    while (this.#unread.length - from >= this.#prefix) {
      const end = from + this.#prefix + this.#unread.readUIntBE(from, this.#prefix);
      if (end > this.#unread.length) break;
      frames++;
      from = end;
    }
    return { frames, rest: this.#unread.length - from };
  }
}
