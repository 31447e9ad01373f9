import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatValue } from './format.ts';
import { bySection, CONFIG_KEYS, type ConfigKey } from './keys.ts';
import { REQUIRED_KEYS } from './requirements.ts';
import { sectionTitle } from './section-titles.ts';

/** Where the generated page lives. */
export const REFERENCE_FILE = join(import.meta.dirname, '../../docs/configuration.md');

const INTRODUCTION = `<!-- Generated from src/config/schema.ts by "npm run docs:config". Do not edit. -->

# Configuration

Every key can be given in three places. A later one wins over an earlier one:

1. the YAML file that \`--config FILE\` or the variable \`OWSLA_CONFIG\` names (the flag wins); without either, no file
   is read;
2. the environment: \`amqp.queueType\` is \`OWSLA_AMQP_QUEUE_TYPE\`;
3. a flag: \`--amqp.queueType=classic\` or \`--amqp.queueType classic\`. Other users of the machine can see flags, so
   give a broker password in the file or in the environment.

\`\`\`yaml
# owsla.yaml
workers: 4
listen:
  port: 8883
  maxFrameBytes: 16KiB
tls:
  cert: /etc/owsla/tls.crt
  key: /etc/owsla/tls.key
amqp:
  url: amqps://gateway:secret@rabbit-1.example,amqps://gateway:secret@rabbit-2.example
\`\`\`

\`\`\`sh
owsla config check --config owsla.yaml   # every problem, one line each; starts nothing
owsla config print --config owsla.yaml   # effective values and where each comes from
owsla start --config owsla.yaml
\`\`\`

**Units.** A duration is a number of milliseconds, or a number with a unit: \`500ms\`, \`30s\`, \`5m\`, \`1h\`, \`1d\`. A
size is a number of bytes, or a number with a unit: \`512B\`, \`64KiB\`, \`1MiB\`, \`1GiB\` (powers of 1024), \`kB\`, \`MB\`,
\`GB\` (powers of 1000).

**Paths** are relative to the folder that the gateway is started in. Files are PEM, private keys unencrypted.

**Passwords** in a broker URL must be percent-encoded where they hold one of \`: / ? # [ ] @ ,\` or \`%\`.

**Mistakes.** An unknown key, in any of the three places, is an error: a misspelt limit must not pass for its default.
So is a variable that starts with \`OWSLA_\` and is not in these tables, and an empty value. Each problem is one line
on standard error that names the key, where it came from, its value (passwords masked) and what was expected; all are
reported at once. The exit code is then 78. A wrong command line exits with 64.

**Kubernetes** sets variables such as \`OWSLA_SERVICE_HOST\` and \`OWSLA_ADMIN_PORT\` in every pod for Services named
\`owsla\` and \`owsla-admin\`. Set \`enableServiceLinks: false\` in the pod spec, or name the Services otherwise.

**Required** keys must be given to \`owsla start\`. \`owsla config check\` warns when one is missing.

**Reload** says whether a rolling restart (SIGHUP to the supervisor) applies a change of the key, or only a new start of
the whole gateway. The file and the files it names are read again; the environment of a running process is what it is.
A file that holds no settings any more is refused then: it may have been cut off while it was written. To go back to the
defaults, start the gateway again.
`;

/** The whole page; ends with a newline. */
export function renderReference(keys: readonly ConfigKey[] = CONFIG_KEYS): string {
  const sections = bySection(keys).map(([section, members]) =>
    [
      `## ${sectionTitle(section)}`,
      '',
      '| key | environment | default | reload | description |',
      '| --- | --- | --- | --- | --- |',
      ...members.map(row),
      '',
    ].join('\n'),
  );
  return [INTRODUCTION, ...sections].join('\n');
}

function row(key: ConfigKey): string {
  const cells = [
    `\`${key.path}\``,
    `\`${key.env}\``,
    defaultCell(key),
    key.reload ? 'yes' : 'no',
    `${key.description} Expects ${key.expects}.`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
}

function defaultCell(key: ConfigKey): string {
  if (REQUIRED_KEYS.includes(key.path)) return '*required*';
  const text = formatValue(key, key.default);
  if (text === undefined) return 'none';
  return typeof key.default === 'string' ? `\`${text}\`` : text;
}

/** `--write` writes the page, `--check` compares it; returns the exit code. */
function main(mode: string | undefined): number {
  const page = renderReference();
  if (mode === '--write') {
    writeFileSync(REFERENCE_FILE, page);
    return 0;
  }
  if (mode === '--check') {
    if (readReference() === page) return 0;
    process.stderr.write(
      'docs/configuration.md does not match src/config/schema.ts; run "npm run docs:config"\n',
    );
    return 1;
  }
  process.stderr.write('expected --write or --check\n');
  return 64;
}

function readReference(): string | undefined {
  try {
    return readFileSync(REFERENCE_FILE, 'utf8');
  } catch (error) {
    // A page that was never generated is as stale as one that differs.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  process.exitCode = main(process.argv[2]);
}
