import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './files.mjs';
import { runTool } from './tool.mjs';

/** The module of kubernetes-types that describes an API version, and the kinds of it that we use. */
const MODULES = {
  v1: { module: 'core/v1', kinds: ['Namespace', 'Service', 'Secret'] },
  'apps/v1': { module: 'apps/v1', kinds: ['Deployment'] },
  'policy/v1': { module: 'policy/v1', kinds: ['PodDisruptionBudget'] },
};

/** Kinds that operators bring; there is no type definition to compare them with. */
const OPERATOR_KINDS = ['ServiceMonitor', 'Certificate'];

/**
 * Has the TypeScript compiler compare objects with the type definitions of the Kubernetes API: unknown fields, wrong
 * types, missing fields.
 * @returns {{ index: number, message: string }[]}
 */
export function findTypeErrors(objects) {
  const unknown = objects.flatMap(({ apiVersion, kind }, index) => {
    const known = MODULES[apiVersion]?.kinds.includes(kind) || OPERATOR_KINDS.includes(kind);
    return known ? [] : [{ index, message: `${apiVersion} ${kind} is not a kind that this lint knows` }];
  });
  return [...unknown, ...compile(objects)];
}

function compile(objects) {
  const folder = mkdtempSync(join(tmpdir(), 'owsla-lint-'));
  try {
    const sources = objects.map((object, index) => {
      const entry = MODULES[object.apiVersion];
      if (!entry?.kinds.includes(object.kind)) return '';
      const source = `import type { ${object.kind} } from 'kubernetes-types/${entry.module}';
const object: ${object.kind} = ${JSON.stringify(object, null, 2)};
export { object };
`;
      writeFileSync(join(folder, `${index}.ts`), source);
      return source;
    });
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project()));
    const { output } = runTool(process.execPath, [
      join(ROOT, 'node_modules/typescript/bin/tsc'),
      '--project',
      folder,
      '--pretty',
      'false',
    ]);
    return output.split('\n').flatMap((line) => {
      const [, index, row, message] = /(\d+)\.ts\((\d+),\d+\): error \w+: (.*)/.exec(line) ?? [];
      if (message === undefined) return /^\s|^$/.test(line) ? [] : [{ index: 0, message: line }];
      const place = sources[Number(index)].split('\n')[Number(row) - 1].trim();
      return [{ index: Number(index), message: `${place} … ${message}` }];
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function project() {
  return {
    compilerOptions: {
      strict: true,
      noEmit: true,
      module: 'esnext',
      moduleResolution: 'bundler',
      types: [],
      paths: { 'kubernetes-types/*': [join(ROOT, 'node_modules/kubernetes-types/*')] },
    },
    include: ['*.ts'],
  };
}
