import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editDistance, nearest } from '../../../src/config/suggest.ts';

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['abc', '', 3],
    ['port', 'prot', 1],
    ['kitten', 'sitting', 3],
    ['listen', 'listn', 1],
  ])('%j to %j is %d', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
  });

  it('is symmetric, and at most the longer length', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });
});

describe('nearest', () => {
  const known = ['listen.port', 'admin.port', 'amqp.ca', 'amqp.queueType', 'log'];

  it.each([
    ['listen.prot', 'listen.port'],
    ['adminport', 'admin.port'],
    ['AMQP_QUEUE_TYPE', 'amqp.queueType'],
    ['broker.queueType', 'amqp.queueType'],
  ])('%s is most likely %s', (name, expected) => {
    expect(nearest(name, known)).toBe(expected);
  });

  it.each(['foo', 'amqp.foo', 'frobnicate'])('%s is nothing known', (name) => {
    expect(nearest(name, known)).toBeUndefined();
  });
});
