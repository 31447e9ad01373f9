import { deploymentFiles, readYamlDocuments } from './files.mjs';

/** Every YAML file parses, without duplicate keys. */
export async function lintYaml(report) {
  const files = deploymentFiles().filter((path) => /\.ya?ml$/.test(path));
  await report.check(`${files.length} YAML files`, 'parse', (problem) => {
    for (const path of files) {
      try {
        readYamlDocuments(path);
      } catch (error) {
        problem(`${path}: ${error.message}`);
      }
    }
  });
}
