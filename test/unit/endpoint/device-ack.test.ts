import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeviceAck } from '../../../src/endpoint/device-ack.ts';

const told = (ack: DeviceAck) => String(ack.take('{seq}').body);

describe('DeviceAck', () => {
  it('covers nothing behind a hole', () => {
    const ack = new DeviceAck();
    ack.confirm(0);
    ack.confirm(2);
    ack.confirm(3);
    expect(ack.untold).toBe(1);
    expect(told(ack)).toBe('0');
    ack.confirm(1);
    expect(ack.untold).toBe(3);
    expect(told(ack)).toBe('3');
    expect(ack.untold).toBe(0);
  });

  it('never tells of a frame before all up to it are confirmed, and in the end of all', () => {
    const order = fc
      .integer({ min: 1, max: 60 })
      .chain((n) => fc.shuffledSubarray([...new Array(n).keys()], { minLength: n }));
    fc.assert(
      fc.property(order, (confirms) => {
        const ack = new DeviceAck();
        const seen = new Set<number>();
        for (const seq of confirms) {
          ack.confirm(seq);
          seen.add(seq);
          if (ack.untold === 0) continue;
          const upTo = Number(told(ack));
          for (let i = 0; i <= upTo; i++) expect(seen.has(i)).toBe(true);
          expect(seen.has(upTo + 1)).toBe(false);
        }
        ack.confirm(confirms.length);
        expect(Number(told(ack))).toBe(confirms.length);
      }),
    );
  });

  it('fills the template in wherever the number stands', () => {
    const ack = new DeviceAck();
    ack.confirm(0);
    expect(String(ack.take('+{seq};{seq}').body)).toBe('+0;0');
  });
});
