import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SlotGate } from '../../../src/acceptor/admission.ts';

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('offer' as const) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('finish' as const), which: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('vanish' as const), which: fc.nat() }) },
  ),
  { maxLength: 100, size: 'max' },
);

describe('the gate before the handshakes', () => {
  test('never runs more than its slots, and starts each waiting socket once, first come first', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.nat(5), steps, (slots, maxWaiting, steps) => {
        const gate = new SlotGate<number>(slots, maxWaiting);
        const running: number[] = [];
        const waiting: number[] = [];
        let offered = 0;
        for (const step of steps) {
          if (step.do === 'offer') {
            const socket = offered++;
            const verdict = gate.offer(socket);
            const expected =
              running.length < slots ? 'start' : waiting.length < maxWaiting ? 'wait' : 'refuse';
            expect(verdict).toBe(expected);
            if (verdict === 'start') running.push(socket);
            else if (verdict === 'wait') waiting.push(socket);
          } else if (step.do === 'finish' && running.length > 0) {
            running.splice(step.which % running.length, 1);
            const next = gate.release();
            expect(next).toBe(waiting.shift());
            if (next !== undefined) running.push(next);
          } else if (step.do === 'vanish' && waiting.length > 0) {
            const [gone] = waiting.splice(step.which % waiting.length, 1);
            gate.withdraw(gone!);
          }
          expect(running.length).toBeLessThanOrEqual(slots);
          expect(running.length === slots || waiting.length === 0).toBe(true);
        }
      }),
    );
  });

  test('refuses at once where nothing may wait', () => {
    const gate = new SlotGate<string>(1, 0);
    expect([gate.offer('a'), gate.offer('b')]).toEqual(['start', 'refuse']);
    expect(gate.release()).toBeUndefined();
    expect(gate.offer('c')).toBe('start');
  });

  test('is not moved by the withdrawal of a socket that does not wait', () => {
    const gate = new SlotGate<string>(1, 1);
    gate.offer('running');
    gate.withdraw('running');
    expect(gate.offer('waiting')).toBe('wait');
    expect(gate.release()).toBe('waiting');
  });
});
