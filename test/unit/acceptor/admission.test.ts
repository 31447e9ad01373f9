import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OverloadGate } from '../../../src/acceptor/admission.ts';
import type { HandshakeKind } from '../../../src/acceptor/client-hello.ts';
import { SlotLimit } from '../../../src/acceptor/slot-limit.ts';

const QUEUE = { maxWaiting: 5, targetDelayMs: 100, intervalMs: 500, maxWaitMs: 3_000 };

function gateOf(slots: number, queue = QUEUE, permitted = (_: HandshakeKind) => true) {
  const limit = new SlotLimit({ min: 1, max: slots, maxLoopDelayMs: 20 });
  return new OverloadGate<string>(limit, { take: permitted }, queue);
}

/** All that may start now. */
function startedAt(gate: OverloadGate<string>, nowMs: number): string[] {
  const started: string[] = [];
  for (let next = gate.next(nowMs); next !== undefined; next = gate.next(nowMs)) started.push(next.socket);
  return started;
}

describe('the gate before the handshakes', () => {
  test('starts in turn while the wait is short', () => {
    const gate = gateOf(2);
    for (const socket of ['a', 'b', 'c', 'd']) expect(gate.offer(socket, 'full', 0)).toBeUndefined();
    expect(startedAt(gate, 0)).toEqual(['a', 'b']);
    gate.release();
    expect(startedAt(gate, 50)).toEqual(['c']);
    gate.withdraw('d');
    gate.release();
    expect(startedAt(gate, 60)).toEqual([]);
    expect(gate.waiting).toEqual({ full: 0, resumed: 0 });
  });

  test('serves the newest first once the wait was too long for an interval, until the line is short', () => {
    const gate = gateOf(1);
    gate.offer('running', 'full', 0);
    gate.next(0);
    for (const [index, socket] of ['a', 'b', 'c', 'd'].entries()) gate.offer(socket, 'full', index);
    gate.release();
    expect(gate.next(400)).toEqual({ socket: 'a', waitedMs: 400 });
    gate.release();
    expect(gate.next(700)?.socket).toBe('d');
    gate.release();
    expect(gate.next(700)?.socket).toBe('c');
    gate.release();
    expect(gate.next(700)?.socket).toBe('b');
    // The line was empty: what comes now is no overload yet.
    for (const socket of ['e', 'f']) gate.offer(socket, 'full', 700);
    gate.release();
    expect(gate.next(800)?.socket).toBe('e');
  });

  test('turns those away who have waited too long, and says for what', () => {
    let permits = 1;
    const gate = gateOf(1, QUEUE, () => permits-- > 0);
    for (const socket of ['a', 'b', 'c']) gate.offer(socket, 'full', 0);
    expect(startedAt(gate, 0)).toEqual(['a']);
    expect(gate.overdue(2_999)).toBeUndefined();
    expect(gate.overdue(3_000)).toEqual({ socket: 'b', reason: 'accept_queue_timeout' });
    gate.release();
    expect(startedAt(gate, 3_000)).toEqual([]);
    expect(gate.overdue(3_000)).toEqual({ socket: 'c', reason: 'rate_limit' });
    expect(gate.overdue(3_000)).toBeUndefined();
  });

  test('makes room for the newest under a standing delay, and not before', () => {
    const gate = gateOf(1, { ...QUEUE, maxWaiting: 2 });
    gate.offer('running', 'full', 0);
    gate.next(0);
    gate.offer('a', 'full', 0);
    gate.offer('b', 'full', 1);
    expect(gate.offer('c', 'full', 300)).toEqual({ socket: 'c', reason: 'accept_queue_full' });
    // The other kind has a line of its own.
    expect(gate.offer('r', 'resumed', 300)).toBeUndefined();
    expect(gate.offer('d', 'full', 700)).toEqual({ socket: 'a', reason: 'accept_queue_full' });
  });

  test('lets neither kind shut the other out', () => {
    const lines = gateOf(4, { ...QUEUE, maxWaiting: 100 });
    for (let i = 0; i < 20; i++) lines.offer(`full ${i}`, 'full', 0);
    for (let i = 0; i < 20; i++) lines.offer(`resumed ${i}`, 'resumed', 0);
    expect(startedAt(lines, 0)).toEqual(['full 0', 'resumed 0', 'full 1', 'resumed 1']);

    const limited = gateOf(4, { ...QUEUE, maxWaiting: 100 }, (kind) => kind === 'resumed');
    for (let i = 0; i < 20; i++) limited.offer(`full ${i}`, 'full', 0);
    limited.offer('resumed', 'resumed', 0);
    expect(startedAt(limited, 0)).toEqual(['resumed']);
  });

  test('never runs more than its slots, keeps no more than its lines, and gives each socket one fate', () => {
    const step = fc.record({
      do: fc.constantFrom('offer', 'offer', 'offer', 'finish', 'finish', 'withdraw', 'tick'),
      kind: fc.constantFrom<HandshakeKind>('full', 'resumed'),
      which: fc.nat(),
      afterMs: fc.nat(400),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.nat(5),
        fc.array(step, { maxLength: 200 }),
        (slots, maxWaiting, steps) => {
          const gate = gateOf(slots, { ...QUEUE, maxWaiting });
          const waiting = new Set<string>();
          const running: string[] = [];
          let nowMs = 0;
          let offered = 0;
          for (const { do: what, kind, which, afterMs } of steps) {
            nowMs += afterMs;
            if (what === 'offer') {
              const socket = String(offered++);
              waiting.add(socket);
              const refused = gate.offer(socket, kind, nowMs);
              if (refused !== undefined) expect(waiting.delete(refused.socket)).toBe(true);
            } else if (what === 'finish' && running.length > 0) {
              running.splice(which % running.length, 1);
              gate.release();
            } else if (what === 'withdraw' && waiting.size > 0) {
              const socket = [...waiting][which % waiting.size]!;
              waiting.delete(socket);
              gate.withdraw(socket);
            } else if (what === 'tick') {
              for (let late = gate.overdue(nowMs); late !== undefined; late = gate.overdue(nowMs))
                expect(waiting.delete(late.socket)).toBe(true);
            }
            for (const socket of startedAt(gate, nowMs)) {
              expect(waiting.delete(socket)).toBe(true);
              running.push(socket);
            }
            expect(running.length).toBe(gate.running);
            expect(running.length).toBeLessThanOrEqual(slots);
            expect(gate.waiting.full + gate.waiting.resumed).toBe(waiting.size);
            expect(waiting.size).toBeLessThanOrEqual(2 * maxWaiting);
            expect(running.length === slots || waiting.size === 0).toBe(true);
          }
        },
      ),
    );
  });
});

describe('the slots', () => {
  const options = { min: 16, max: 1_024, maxLoopDelayMs: 20 };

  test('shrink while the event loop is late and handshakes are many, and no further than the least', () => {
    const slots = new SlotLimit(options);
    slots.adjust(100, 200);
    expect(slots.current).toBe(150);
    for (let i = 0; i < 50; i++) slots.adjust(100, slots.current);
    expect(slots.current).toBe(16);
  });

  test('stay where something else makes the event loop late', () => {
    const slots = new SlotLimit(options);
    slots.adjust(100, 15);
    expect(slots.current).toBe(1_024);
  });

  test('grow step by step while they are all in use, up to the most', () => {
    const slots = new SlotLimit(options);
    for (let i = 0; i < 50; i++) slots.adjust(100, slots.current);
    slots.adjust(5, 10);
    expect(slots.current).toBe(16);
    slots.adjust(5, 16);
    expect(slots.current).toBe(32);
    for (let i = 0; i < 100; i++) slots.adjust(5, slots.current);
    expect(slots.current).toBe(1_024);
  });
});
