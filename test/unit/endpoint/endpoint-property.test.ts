import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CloseReason } from '../../../src/endpoint/lifecycle.ts';
import { connect, FakeReply, turn } from './fakes.ts';

type Step =
  | { do: 'arrive'; lines: number; cutsLast: boolean }
  | { do: 'arriveEnd' }
  | { do: 'giveRoom' }
  | { do: 'takeRoom' }
  | { do: 'confirm'; frames: number }
  | { do: 'deliver'; seq: number | undefined; bytes: number }
  | { do: 'takeWrite' }
  | { do: 'pass'; ms: number }
  | { do: 'turn' }
  | { do: 'end'; reason: CloseReason }
  | { do: 'destroy'; error: Error | undefined };

function step<S extends Step>(weight: number, name: S['do'], fields: object = {}) {
  return { weight, arbitrary: fc.record({ do: fc.constant(name), ...fields }) as fc.Arbitrary<Step> };
}

const steps = fc.array(
  fc.oneof(
    step(8, 'arrive', { lines: fc.integer({ min: 1, max: 5 }), cutsLast: fc.boolean() }),
    step(1, 'arriveEnd'),
    step(2, 'giveRoom'),
    step(1, 'takeRoom'),
    step(4, 'confirm', { frames: fc.nat(5) }),
    step(10, 'deliver', { seq: fc.option(fc.nat(8), { nil: undefined }), bytes: fc.nat(40) }),
    step(5, 'takeWrite'),
    step(3, 'pass', { ms: fc.constantFrom(250, 3_000, 21_000) }),
    step(8, 'turn'),
    step(1, 'end', { reason: fc.constantFrom('shutdown', 'slow_consumer', 'idle_timeout') }),
    step(1, 'destroy', { error: fc.constantFrom(undefined, new Error('reset')) }),
  ),
  { maxLength: 60, size: 'max' },
);

const TIGHT = {
  maxUnconfirmedFrames: 4,
  maxFramesPerSecond: 3,
  maxPending: 6,
  maxPendingBytes: 300,
  writeTimeoutMs: 15_000,
  idleTimeoutMs: 30_000,
};

test('whatever happens, every reply has one fate and the connection one end', async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      const { host, sink, socket, endpoint } = await connect(TIGHT);
      socket.takesWrites = false;
      const replies: FakeReply[] = [];
      let lines = 0;
      let cut = '';
      let arrivedEnd = false;
      for (const step of steps) {
        const canArrive = !arrivedEnd && !socket.destroyed;
        if (step.do === 'arrive' && canArrive) {
          let text = cut;
          for (let n = 0; n < step.lines; n++) text += `line ${lines++}\n`;
          cut = step.cutsLast ? text.slice(-3) : '';
          socket.arrive(text.slice(0, text.length - cut.length));
        } else if (step.do === 'arriveEnd' && canArrive) {
          arrivedEnd = true;
          socket.arriveEnd();
        } else if (step.do === 'deliver') {
          const reply = new FakeReply('r'.repeat(step.bytes), step.seq);
          replies.push(reply);
          endpoint.deliver(reply);
        } else if (step.do === 'giveRoom') sink.giveRoom();
        else if (step.do === 'takeRoom') sink.hasRoom = false;
        else if (step.do === 'confirm') sink.confirm(Math.min(step.frames, sink.unconfirmed));
        else if (step.do === 'takeWrite' && socket.isWriting) socket.takeWrite();
        else if (step.do === 'pass') host.pass(step.ms);
        else if (step.do === 'turn') await turn();
        else if (step.do === 'end') endpoint.end({ reason: step.reason });
        else if (step.do === 'destroy') socket.destroy(step.error);
      }
      await turn();
      socket.destroy(new Error('at last'));
      await turn();
      sink.giveRoom();

      expect(replies.map(({ outcomes }) => outcomes.length)).toEqual(replies.map(() => 1));
      expect(host.unregistered).toHaveLength(1);
      expect(host.closings).toHaveLength(1);
      expect(host.parked).toBe(0);
      expect(host.pauses).toBe(host.resumes);
      expect(endpoint.framesSent).toBe(replies.filter(({ outcomes }) => outcomes[0] === 'delivered').length);
    }),
    { numRuns: 400 },
  );
});
