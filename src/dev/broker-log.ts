import { existsSync, readFileSync } from 'node:fs';

const MOST_LINES = 12;
const TIME_AND_PROCESS = /^\d{4}-\d\d-\d\d \S+ (?=\[)|<[\d.]+> /g;

/**
 * What a broker's output says about why it failed: its first errors, because Erlang's crash reports, which repeat
 * them at length, come after; or the last lines when it names no error.
 */
export function explainFailure(outputFile: string): string {
  if (!existsSync(outputFile)) return '(it printed nothing)';
  const lines = readFileSync(outputFile, 'utf8')
    .split('\n')
    .map((line) => line.replace(TIME_AND_PROCESS, '').trimEnd())
    .filter((line) => line !== '' && line !== '[error]');
  const errors = lines.filter((line) => /^\[(error|critical|alert|emergency)\]/.test(line));
  const telling = errors.length > 0 ? errors.slice(0, MOST_LINES) : lines.slice(-MOST_LINES);
  return telling.length > 0 ? telling.join('\n') : '(it printed nothing)';
}
