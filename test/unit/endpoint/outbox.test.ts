import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createDecoder, type FramingName } from '../../../src/endpoint/framing.ts';
import { Outbox } from '../../../src/endpoint/outbox.ts';
import { FakeReply } from './fakes.ts';

const MAX_BATCH_BYTES = 50;

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('push' as const),
        bytes: fc.nat(60),
        numbered: fc.boolean(),
        expiresAtMs: fc.option(fc.nat(20), { nil: undefined }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('replace' as const), place: fc.nat(60) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('takeExpired' as const), atMs: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('startWrite' as const) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('takeWritten' as const) }) },
  ),
  { maxLength: 60 },
);

function framesIn(framing: FramingName, bytes: Buffer): string[] {
  const decoder = createDecoder(framing, 1_000);
  decoder.push(bytes);
  const frames: string[] = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame.toString());
  return frames;
}

test.each<FramingName>(['line', 'u8', 'u16', 'u32'])(
  'replies leave in order, each once, unless they expire (%s)',
  (framing) => {
    fc.assert(
      fc.property(steps, (steps) => {
        const outbox = new Outbox();
        /** Those that are not settled, in order, and how many of them are being written. */
        let open: FakeReply[] = [];
        let writing = 0;
        let pushed = 0;
        for (const step of steps) {
          if (step.do === 'push') {
            const body = String(pushed).padEnd(step.bytes, '.');
            const reply = new FakeReply(body, step.numbered ? pushed : undefined, step.expiresAtMs);
            pushed++;
            open.push(reply);
            outbox.push(reply);
          } else if (step.do === 'replace') {
            const older = open[step.place];
            const copy = new FakeReply(
              older?.body ?? 'nobody',
              older ? older.toDeviceSeq : pushed,
              step.place,
            );
            const isNumbered = older?.toDeviceSeq !== undefined;
            expect(outbox.replace(copy)).toBe(isNumbered ? older : undefined);
            expect(outbox.replace(new FakeReply('another body', copy.toDeviceSeq))).toBeUndefined();
            if (isNumbered) open[step.place] = copy;
          } else if (step.do === 'takeExpired') {
            const expired = open.slice(writing).filter(({ expiresAtMs = 99 }) => expiresAtMs <= step.atMs);
            expect(outbox.takeExpired(step.atMs)).toEqual(expired);
            open = open.filter((reply) => !expired.includes(reply));
          } else if (step.do === 'startWrite' && !outbox.isWriting && outbox.hasWaiting) {
            const batch = outbox.startWrite(framing, MAX_BATCH_BYTES);
            const frames = framesIn(framing, batch);
            expect(frames.length === 1 || batch.length <= MAX_BATCH_BYTES).toBe(true);
            writing = frames.length;
            expect(frames).toEqual(open.slice(0, writing).map(({ body }) => body.toString()));
            expect(outbox.isWriting).toBe(true);
          } else if (step.do === 'takeWritten') {
            expect(outbox.takeWritten()).toEqual(open.splice(0, writing));
            writing = 0;
            expect(outbox.isWriting).toBe(false);
          }
          expect(outbox.count).toBe(open.length);
          expect(outbox.bytes).toBe(open.reduce((sum, { heldBytes }) => sum + heldBytes, 0));
        }
        expect([...outbox.takeWritten(), ...outbox.takeWaiting()]).toEqual(open);
        expect(outbox).toMatchObject({ count: 0, bytes: 0, isWriting: false, hasWaiting: false });
      }),
    );
  },
);

test('a batch takes as many replies as fit, line ends included', () => {
  const outbox = new Outbox();
  for (const text of ['aaaa', 'bbbb', 'c']) outbox.push(new FakeReply(text));
  expect(outbox.startWrite('line', 10).toString()).toBe('aaaa\nbbbb\n');
  expect(outbox.takeWritten()).toHaveLength(2);
  expect(outbox.startWrite('line', 10).toString()).toBe('c\n');
});

test('a reply that is larger than a batch leaves alone', () => {
  const outbox = new Outbox();
  for (const text of ['a', 'b'.repeat(20), 'c']) outbox.push(new FakeReply(text));
  const batches: string[] = [];
  while (outbox.hasWaiting) {
    batches.push(outbox.startWrite('line', 10).toString());
    outbox.takeWritten();
  }
  expect(batches).toEqual(['a\n', `${'b'.repeat(20)}\n`, 'c\n']);
});

test('replies whose write takes long can be copied too, so that none pins what it was read with', () => {
  const outbox = new Outbox();
  const replies = ['aaaa', 'bbbb', 'c'].map((text) => new FakeReply(text));
  for (const reply of replies) outbox.push(reply);
  outbox.startWrite('line', 10);
  expect(replies.map(({ detached }) => detached)).toEqual([false, false, true]);
  outbox.detachWriting();
  expect(replies.map(({ detached }) => detached)).toEqual([true, true, true]);
  outbox.takeWritten();
  outbox.detachWriting();
});
