import { read } from './files.mjs';

const PATHS = ['deploy/sysctl/90-owsla.conf', 'deploy/sysctl/91-owsla-load.conf'];

/** Every line is a comment or a setting, no setting comes twice, and each has its reason above it. */
export async function lintSysctl(report) {
  for (const path of PATHS) {
    await report.check(path, 'form, and a comment for each setting', (problem) => {
      const seen = new Set();
      const lines = read(path).split('\n');
      for (const [index, line] of lines.entries()) {
        if (line === '' || line.startsWith('#')) continue;
        const [, key] = /^-?([a-z]+(?:\.\w+)+) = \S.*$/.exec(line) ?? [];
        if (key === undefined) problem(`line ${index + 1}: expected "key = value", not ${line}`);
        else if (seen.has(key)) problem(`line ${index + 1}: ${key} is set twice`);
        else if (!lines[index - 1]?.startsWith('#')) problem(`line ${index + 1}: ${key} is not explained`);
        seen.add(key);
      }
    });
  }
}
