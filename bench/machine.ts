import { cpus, release, totalmem } from 'node:os';
import type { Machine } from './report/result.ts';

export function thisMachine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
  };
}
