import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Silence } from '../../../src/broker/silence.ts';

const LOOKS = 8;

test('a peer that falls silent is given up within two intervals, and not a look sooner', () => {
  // When the last bytes come, in looks; from then on there is nothing.
  fc.assert(
    fc.property(fc.double({ min: 1, max: 100, noNaN: true }), (lastAt) => {
      const silence = new Silence(LOOKS);
      let look = 0;
      while (!silence.look(Math.min(look, lastAt))) look++;
      expect(look - lastAt).toBeGreaterThanOrEqual(2 * LOOKS - 1);
      expect(look - lastAt).toBeLessThanOrEqual(2 * LOOKS);
    }),
  );
});

test('a peer that sends a heartbeat an interval is never given up', () => {
  const silence = new Silence(LOOKS);
  for (let look = 0; look < 1_000; look++) expect(silence.look(8 * Math.floor(look / LOOKS))).toBe(false);
});
