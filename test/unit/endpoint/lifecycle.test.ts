import { expect, test } from 'vitest';
import { type Ending, OPEN, transition } from '../../../src/endpoint/lifecycle.ts';

const first: Ending = { reason: 'slow_consumer', limit: 5, value: 6 };
const second: Ending = { reason: 'peer_reset' };

test('a connection goes from open over ending to closed and keeps its first reason', () => {
  const ending = transition(OPEN, { type: 'end', ending: first });
  expect(ending).toEqual({ phase: 'ending', ending: first });
  const closed = transition(ending, { type: 'finished' });
  expect(closed).toEqual({ phase: 'closed', ending: first });
});

test('what changes nothing gives the same state back', () => {
  const ending = transition(OPEN, { type: 'end', ending: first });
  const closed = transition(ending, { type: 'finished' });
  expect(transition(OPEN, { type: 'finished' })).toBe(OPEN);
  expect(transition(ending, { type: 'end', ending: second })).toBe(ending);
  expect(transition(closed, { type: 'end', ending: second })).toBe(closed);
  expect(transition(closed, { type: 'finished' })).toBe(closed);
});
