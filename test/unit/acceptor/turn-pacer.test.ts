import { expect, test } from 'vitest';
import { TurnPacer } from '../../../src/acceptor/turn-pacer.ts';

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a turn of the event loop takes what the budget allows, also of what a step puts off to the next tick', async () => {
  let clock = 0;
  let waiting = 10;
  const pacer = new TurnPacer(
    () => {
      if (waiting === 0) return false;
      waiting--;
      process.nextTick(() => {
        clock += 2;
      });
      return true;
    },
    4,
    () => clock,
  );
  const left = [waiting];
  pacer.kick();
  while (waiting > 0) {
    // What else happens in the turn does not make it longer.
    pacer.kick();
    await nextTurn();
    left.push(waiting);
  }
  for (const [index, count] of left.slice(1).entries()) expect(left[index]! - count).toBeLessThanOrEqual(2);
  expect(clock).toBe(20);

  waiting = 1;
  await nextTurn();
  pacer.kick();
  expect(waiting).toBe(0);
});
