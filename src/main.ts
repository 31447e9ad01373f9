#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { type CommandLine, parseCommandLine } from './config/command-line.ts';
import { ConfigError } from './config/config-error.ts';
import { checkFiles } from './config/files.ts';
import { COMMAND_NAMES, commandHelp, mainHelp } from './config/help.ts';
import { type LoadedConfig, loadConfig } from './config/load.ts';
import { printConfig, printConfigJson } from './config/print.ts';
import { safeName } from './config/problem.ts';
import { missingKeys, requireForStart } from './config/requirements.ts';
import type { Sources } from './config/sources.ts';

/**
 * The `owsla` executable: command line → configuration → supervisor. The only file that reads the environment.
 * Results go to standard output, complaints to standard error, one line each.
 */

/** EX_USAGE of sysexits.h. */
const EXIT_USAGE = 64;

async function main(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const line = parseCommandLine(argv);
  const command = line.words.join(' ');
  if (line.switches.has('version')) return print(`owsla ${version()}`);
  if (line.switches.has('help')) return help(line.words);
  if (line.words[0] === 'help') return help(line.words.slice(1));
  const complaint = usageComplaint(line);
  if (complaint !== undefined) return complain(complaint, EXIT_USAGE);

  const load = (running: Sources = {}) => loadConfig({ argv, env, running });
  const loaded = load();
  switch (command) {
    case 'start':
      return await start(load);
    case 'config check':
      return check(loaded);
    default:
      return print(line.switches.has('json') ? printConfigJson(loaded) : printConfig(loaded));
  }
}

async function start(load: (running?: Sources) => LoadedConfig): Promise<number> {
  const settings = (running?: Sources) => {
    const { config, sources } = load(running);
    requireForStart(sources);
    const { files, warnings } = checkFiles(config, { sources });
    warn(warnings);
    return { config, files, sources };
  };
  const first = settings();
  const { runSupervisor } = await import('./supervisor/supervisor.ts');
  return await runSupervisor(first, settings);
}

function check(loaded: LoadedConfig): number {
  const { warnings } = checkFiles(loaded.config, { sources: loaded.sources });
  const missing = missingKeys(loaded.sources);
  warn([...missing.map((text) => `"owsla start" would refuse: ${text}`), ...warnings]);
  return print('configuration ok');
}

function help(words: readonly string[]): number {
  if (words.length === 0) return print(mainHelp());
  const text = commandHelp(words.join(' '));
  return text === undefined ? complain(unknownCommand(words), EXIT_USAGE) : print(text);
}

function usageComplaint({ words, switches }: CommandLine): string | undefined {
  const command = words.join(' ');
  if (words.length === 0) return `no command; expected one of ${COMMAND_NAMES.join(', ')}`;
  if (!COMMAND_NAMES.includes(command)) return unknownCommand(words);
  if (switches.has('json') && command !== 'config print') return '--json goes with "config print" only';
  return undefined;
}

function unknownCommand(words: readonly string[]): string {
  // A word may be a stray value, and so a password.
  const command = words.map(safeName).join(' ');
  return `unknown command "${command}"; expected one of ${COMMAND_NAMES.join(', ')}`;
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function warn(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`owsla: warning: ${warning}\n`);
}

function complain(text: string, exitCode: number): number {
  process.stderr.write(`owsla: ${text}\n`);
  return exitCode;
}

// Whoever read the warnings may be gone (`owsla start 2>&1 | logger`). Without a listener, the one that a SIGHUP writes
// about a certificate would end the supervisor, and every connection with it.
process.stderr.on('error', () => {});

try {
  // Explicit, since a handle that somebody forgot must not keep a finished gateway alive.
  process.exit(await main(process.argv.slice(2), process.env));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  for (const problem of error.problems) complain(problem, error.exitCode);
  process.exit(error.exitCode);
}
