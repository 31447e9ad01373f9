import { formatValue } from './format.ts';
import { bySection, CONFIG_KEYS, type ConfigKey } from './keys.ts';
import { REQUIRED_KEYS } from './requirements.ts';
import { sectionTitle } from './section-titles.ts';

const WIDTH_COLUMNS = 100;

const COMMANDS: Readonly<Record<string, string>> = {
  start:
    'Runs the gateway until SIGTERM or SIGINT. Needs amqp.url, tls.cert and tls.key; for a complete development set-up run "npm start" in the repository.',
  'config check':
    'Reads the configuration from all sources and the files it names, reports every problem, one line each, and exits with 0 or 78. Starts nothing.',
  'config print':
    'Prints every key with its effective value and the source of that value. Passwords are masked. With --json: as JSON, durations in milliseconds and sizes in bytes.',
  help: 'Prints help for a command: "owsla help start".',
};

export const COMMAND_NAMES: readonly string[] = Object.keys(COMMANDS);

const EXIT_CODES =
  'Exit codes: 0 done; 64 wrong command line; 78 wrong configuration; any other: the gateway failed.';

/** Everything: commands, sources, and each key by section. */
export function mainHelp(): string {
  return [
    'Usage: owsla COMMAND [--config FILE] [--KEY=VALUE ...]',
    '',
    'Commands:',
    ...Object.entries(COMMANDS).flatMap(([name, text]) => entry(name, text)),
    '',
    ...wrap(
      'Each key below is read from the YAML file that --config or OWSLA_CONFIG names, then from its environment variable, then from its flag; the later wins. Flags are written --key=value or --key value.',
      0,
    ),
    '',
    ...entry('--config FILE', 'Configuration file (environment: OWSLA_CONFIG).'),
    ...entry('--help, --version', 'Print this text; print the version.'),
    ...bySection(CONFIG_KEYS).flatMap(([section, keys]) => [
      '',
      `${sectionTitle(section)}:`,
      ...keys.flatMap(keyHelp),
    ]),
    '',
    ...wrap(EXIT_CODES, 0),
  ].join('\n');
}

/** Help for one command, or `undefined` when there is no such command; `config` covers both of its own. */
export function commandHelp(command: string): string | undefined {
  const names = COMMAND_NAMES.filter((name) => name === command || name.startsWith(`${command} `));
  if (names.length === 0) return undefined;
  const options = (name: string) => {
    if (name === 'help') return ' [COMMAND]';
    return ` [--config FILE] [--KEY=VALUE ...]${name === 'config print' ? ' [--json]' : ''}`;
  };
  return names
    .map((name) => [`Usage: owsla ${name}${options(name)}`, '', ...wrap(COMMANDS[name]!, 0)].join('\n'))
    .concat('"owsla --help" lists every key.')
    .join('\n\n');
}

function keyHelp(key: ConfigKey): string[] {
  const fallback = REQUIRED_KEYS.includes(key.path) ? 'required' : formatValue(key, key.default);
  const notes = [
    `Default: ${fallback ?? 'none'}`,
    `Environment: ${key.env}`,
    ...(key.reload ? ['Reloadable'] : []),
  ];
  return [
    `  ${key.flag}`,
    ...wrap(key.description, 6),
    ...wrap(`Expects ${key.expects}.`, 6),
    `      ${notes.join(' | ')}`,
  ];
}

function entry(name: string, text: string): string[] {
  return [`  ${name}`, ...wrap(text, 6)];
}

/** Breaks text at spaces into lines of at most 100 columns, each indented. A longer word keeps a line of its own. */
export function wrap(text: string, indent: number): string[] {
  const margin = ' '.repeat(indent);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH_COLUMNS) {
      lines.push(margin + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, margin + line];
}
