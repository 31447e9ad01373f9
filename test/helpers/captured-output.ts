import { vi } from 'vitest';

/** What this process writes on stdout and stderr, instead of writing it, until `vi.restoreAllMocks`. */
export class CapturedOutput {
  stdout = '';
  stderr = '';

  static begin(): CapturedOutput {
    const output = new CapturedOutput();
    for (const stream of ['stdout', 'stderr'] as const) {
      vi.spyOn(process[stream], 'write').mockImplementation((text) => {
        output[stream] += text;
        return true;
      });
    }
    return output;
  }
}
