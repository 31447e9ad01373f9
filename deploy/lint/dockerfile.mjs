import { Script } from 'node:vm';
import dockerfileUtils from 'dockerfile-utils';
import { exists, read } from './files.mjs';
import { loadGatewayConfig } from './gateway.mjs';

const PATH = 'deploy/Dockerfile';

export async function lintDockerfile(report) {
  await report.check(PATH, 'syntax', (problem) => {
    for (const { message, range } of dockerfileUtils.validate(read(PATH))) {
      problem(`line ${range.start.line + 1}: ${message}`);
    }
  });
  await report.check(PATH, 'sources, stages, user, ports, programs', checkMeaning);
}

function checkMeaning(problem) {
  const instructions = parse(read(PATH));
  const argumentsOf = (name) => instructions.filter((one) => one.name === name).map((one) => one.rest);

  const stages = argumentsOf('FROM').map((rest) => / AS (\S+)$/i.exec(rest)?.[1]);
  const ignored = ignoreRules(read('.dockerignore'));
  for (const rest of argumentsOf('COPY')) {
    const words = rest.split(/\s+/);
    const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length);
    const sources = words.filter((word) => !word.startsWith('--')).slice(0, -1);
    if (from !== undefined) {
      if (!stages.includes(from)) problem(`COPY --from=${from}: there is no such stage`);
    } else {
      for (const source of sources) {
        if (!exists(source)) problem(`COPY ${source}: not in the repository`);
        else if (ignored(source)) problem(`COPY ${source}: excluded by .dockerignore`);
      }
    }
  }

  const last = instructions.slice(instructions.findLastIndex((one) => one.name === 'FROM'));
  const user = last.findLast((one) => one.name === 'USER')?.rest ?? 'root';
  if (!/^[1-9]\d*(:|$)/.test(user))
    problem(`the image runs as ${user}; expected the number of an unprivileged user`);

  const exposed = argumentsOf('EXPOSE').flatMap((rest) => rest.split(/\s+/).map(Number));
  const { listen, admin } = loadGatewayConfig(() => {}, {});
  for (const port of [listen.port, admin.port])
    if (!exposed.includes(port)) problem(`port ${port} is not exposed`);

  for (const command of argumentsOf('ENTRYPOINT').concat(argumentsOf('CMD'))) {
    if (!command.startsWith('['))
      problem(`${command}: with a shell in between, signals do not reach the gateway`);
    else checkCommand(problem, JSON.parse(command));
  }
  const health = argumentsOf('HEALTHCHECK')[0] ?? '';
  const healthCommand = /\bCMD (\[.*\])$/.exec(health)?.[1];
  if (healthCommand === undefined) problem('no HEALTHCHECK with a command in JSON form');
  else checkCommand(problem, JSON.parse(healthCommand));
}

/** A command line in an image of ours: programs under /app/dist have a source, and `node -e` gets a valid script. */
export function checkCommand(problem, words) {
  for (const word of words.filter((one) => one.startsWith('/app/dist/'))) {
    const source = word.replace('/app/dist/', 'src/').replace(/\.js$/, '.ts');
    if (!exists(source)) problem(`${word}: there is no ${source}`);
  }
  const script = words[words.indexOf('-e') + 1];
  if (words.includes('-e')) new Script(script);
}

/** Instructions with their arguments on one line. */
function parse(text) {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n');
  return lines
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, name, rest] = /^\s*(\w+)\s+(.*?)\s*$/.exec(line) ?? [undefined, line, ''];
      return { name: name.toUpperCase(), rest };
    });
}

/** As much of .dockerignore as ours uses: everything is out but what a `!` lets in. */
function ignoreRules(text) {
  const rules = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  if (rules[0] !== '*') throw new Error('.dockerignore: expected "*" as its first rule');
  const allowed = rules.filter((rule) => rule.startsWith('!')).map((rule) => rule.slice(1));
  return (path) => !allowed.some((name) => path === name || path.startsWith(`${name}/`));
}
