import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments, parseDocument } from 'yaml';

/** Top of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** All paths below are relative to the top of the repository. */
export const read = (path) => readFileSync(join(ROOT, path), 'utf8');
export const exists = (path) => existsSync(join(ROOT, path));

/** Deployment files: everything under deploy/ but programs, and what lies at the top. */
export function deploymentFiles() {
  const entries = readdirSync(join(ROOT, 'deploy'), { recursive: true, withFileTypes: true });
  const found = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
    .filter((path) => !/^deploy\/(dev|lint)\//.test(path) && !path.endsWith('.mjs'));
  return ['docker-compose.yml', '.dockerignore', ...found.sort()];
}

/** The one document of a YAML file. @throws Error when it does not parse */
export function readYaml(path) {
  return contentOf(parseDocument(read(path), { merge: true }));
}

/** Every document of a YAML file. @throws Error when one does not parse */
export function readYamlDocuments(path) {
  return parseAllDocuments(read(path)).map(contentOf);
}

function contentOf(document) {
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) throw new Error(fault.message);
  return document.toJS();
}
