import type { Message } from 'amqplib';
import { expect, test } from 'vitest';
import { LineAudit } from '../../helpers/line-audit.ts';

/** `2` is the line with that number; `2r` is marked as republished. */
function violations(lines: string[], options?: { mayBeEarly: boolean }): string[] {
  const messages = lines.map((text) => {
    const seq = Number.parseInt(text, 10);
    const headers = {
      connection_id: 'c',
      from_device_seq: seq,
      ...(text.endsWith('r') && { republished: true }),
    };
    return { content: Buffer.from(`line ${seq}`), properties: { headers } } as unknown as Message;
  });
  return LineAudit.of(messages, options).violations;
}

test('lines in order, with marked copies before or behind the first, are fine', () => {
  expect(violations(['0', '1', '2'])).toEqual([]);
  expect(violations(['0', '1', '0r', '1r', '2'])).toEqual([]);
  expect(violations(['0', '1r', '1', '2'])).toEqual([]);
});

test('a copy without a mark is not', () => {
  expect(violations(['0', '1', '1'])).toEqual(['c: 1 came twice, unmarked']);
});

test('a line that is lost, or late, is not', () => {
  expect(violations(['0', '2', '3'])).toEqual(['c: 2 came before 1']);
  expect(violations(['0', '2', '1', '3'])).toEqual(['c: 2 came before others']);
  expect(violations(['0', '2', '2r'])).toEqual(['c: 2 came before 1']);
});

test('a line that came too early is where that may be, once it comes again in its place, marked', () => {
  expect(violations(['0', '4', '1r', '2r', '3r', '4r', '5'], { mayBeEarly: true })).toEqual([]);
  expect(violations(['0', '3', '4', '1r', '2r', '3r', '4r'], { mayBeEarly: true })).toEqual([]);
  expect(violations(['0', '4', '1r', '2r', '3r', '4'], { mayBeEarly: true })).toEqual([
    'c: 4 came twice, unmarked',
    'c: 4 came before others',
  ]);
  expect(violations(['0', '4', '1r', '2r', '3r', '4r'])).toEqual(['c: 4 came before others']);
});
