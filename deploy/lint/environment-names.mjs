import { deploymentFiles, read } from './files.mjs';
import { ENVIRONMENT_NAMES } from './gateway.mjs';

/** Every OWSLA_ name anywhere in the files, comments and text included, is a key of the gateway. */
export async function lintEnvironmentNames(report) {
  await report.check('all files', 'every OWSLA_ name is a key of the gateway', (problem) => {
    for (const path of deploymentFiles()) {
      for (const [index, line] of read(path).split('\n').entries()) {
        for (const [name] of line.matchAll(/\bOWSLA_[A-Z0-9_]*[A-Z0-9]\b/g)) {
          if (!ENVIRONMENT_NAMES.has(name)) problem(`${path}:${index + 1}: the gateway knows no ${name}`);
        }
      }
    }
  });
}
