import { deploymentFiles, read } from './files.mjs';
import { hasTool, runTool } from './tool.mjs';

/** Guides whose shell examples people copy. */
const GUIDES = ['deploy/README.md', 'docs/backend-guide.md'];

export async function lintShell(report) {
  const scripts = deploymentFiles()
    .filter((path) => path.endsWith('.sh'))
    .map((path) => ({ name: path, text: read(path) }));
  const examples = GUIDES.flatMap((path) =>
    [...read(path).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text], index) => ({
      name: `${path}, example ${index + 1}`,
      text: `#!/bin/sh\n${text}`,
    })),
  );
  const all = [...scripts, ...examples];
  const subject = `${scripts.length} shell scripts, ${examples.length} shell examples in guides`;
  if (!hasTool('shellcheck')) {
    report.skip(subject, 'shellcheck is not installed');
    return;
  }
  await report.check(subject, 'shellcheck', (problem) => {
    for (const { name, text } of all) {
      const { status, output } = runTool('shellcheck', ['--format=gcc', '-'], text);
      if (status !== 0) problem(`${name}: ${output}`);
    }
  });
}
