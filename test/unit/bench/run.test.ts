import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Progress } from '../../../bench/progress.ts';
import { Run } from '../../../bench/run.ts';
import { CapturedOutput } from '../../helpers/captured-output.ts';

describe('the end of a run', () => {
  let output: CapturedOutput;
  let run: Run;
  let ended: string[];

  beforeEach(() => {
    output = CapturedOutput.begin();
    run = new Run(new Progress(), 50);
    ended = [];
  });

  afterEach(() => vi.restoreAllMocks());

  const thing = (name: string, error?: Error): AsyncDisposable => ({
    [Symbol.asyncDispose]: async () => {
      ended.push(name);
      if (error !== undefined) throw error;
    },
  });
  const own = (name: string, error?: Error) => run.own(Promise.resolve(thing(name, error)));

  test('ends what it owns, the last one first, and nothing twice', async () => {
    await own('broker');
    const gateway = await own('gateway');
    await own('fleet');
    await run.end(gateway);
    await run[Symbol.asyncDispose]();
    expect(ended).toEqual(['gateway', 'fleet', 'broker']);
    expect(run.measured.problems).toEqual([]);
  });

  test('ends the others when one cannot be ended, and says so', async () => {
    await own('broker');
    await own('gateway', new Error('its folder is busy'));
    await run[Symbol.asyncDispose]();
    expect(ended).toEqual(['gateway', 'broker']);
    expect(run.measured.problems).toEqual(['at the end of the run: its folder is busy']);
    expect(output.stderr).toContain('at the end of the run: its folder is busy');
  });

  test('waits for what is starting, ends it, and lets nothing go on from there', async () => {
    await own('broker');
    const starting = run.own(delay(10, thing('gateway')));
    await Promise.all([expect(starting).rejects.toThrow('the run is over'), run[Symbol.asyncDispose]()]);
    expect(ended).toEqual(['gateway', 'broker']);
  });

  test('does not wait for ever, nor for what did not start', async () => {
    await own('broker');
    void run.own(new Promise<AsyncDisposable>(() => {}));
    await expect(run.own(Promise.reject(new Error('no port')))).rejects.toThrow('no port');
    await run[Symbol.asyncDispose]();
    expect(ended).toEqual(['broker']);
  });
});
