import { once } from 'node:events';
import { onStopRequest } from '../src/dev/stop-request.ts';
import { outputOptions } from './cli/common-options.ts';
import {
  type OptionTable,
  optionName,
  optionsHelp,
  parseOptions,
  plainValues,
  UsageError,
  type Values,
} from './cli/option-table.ts';
import { thisMachine } from './machine.ts';
import { planCommand } from './plan/plan.ts';
import { Progress } from './progress.ts';
import { compareCommand } from './report/compare.ts';
import { plotCommand } from './report/plot.ts';
import type { BenchResult } from './report/result.ts';
import { printTable } from './report/table.ts';
import { checkReport, type ReportFiles, writeReport } from './report/write.ts';
import { Run } from './run.ts';
import { connect } from './scenarios/connect.ts';
import { echo } from './scenarios/echo.ts';
import { faults } from './scenarios/faults.ts';
import { flood } from './scenarios/flood.ts';
import { hold } from './scenarios/hold.ts';
import { reconnect } from './scenarios/reconnect.ts';
import type { Scenario } from './scenarios/scenario.ts';
import { slowloris } from './scenarios/slowloris.ts';
import { soak } from './scenarios/soak.ts';
import { stampede } from './scenarios/stampede.ts';
import { suites } from './scenarios/suites.ts';
import { throughput } from './scenarios/throughput.ts';

/**
 * The command line of the harness: `bench <scenario> [options]`, `bench compare`, `bench plan`, `bench plot`.
 * Progress goes to standard error, results to standard output. Exit status: 0 good, 1 the run has problems, 64 bad usage.
 */
const SCENARIOS: readonly Scenario[] = [
  connect,
  hold,
  echo,
  throughput,
  stampede,
  reconnect,
  faults,
  slowloris,
  flood,
  soak,
  suites,
];

async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (command === undefined || command === 'help' || command === '--help' || command === '-h') {
    process.stdout.write(mainHelp());
    return command === undefined ? 64 : 0;
  }
  if (command === 'compare') return await compareCommand(rest);
  if (command === 'plan') return await planCommand(rest);
  if (command === 'plot') return await plotCommand(rest);
  const scenario = SCENARIOS.find(({ name }) => name === command);
  if (scenario === undefined) {
    const names = SCENARIOS.map(({ name }) => name).join(', ');
    throw new UsageError(`unknown scenario "${command}"; expected one of ${names}, compare, plan, plot`);
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(scenarioHelp(scenario));
    return 0;
  }
  const options = parseOptions(tableOf(scenario), rest);
  return await runScenario(scenario, options, ['npm run bench --', ...args].join(' '));
}

async function runScenario(
  scenario: Scenario,
  options: Values<ReturnType<typeof tableOf>>,
  command: string,
): Promise<number> {
  checkReport(files(options));
  const progress = new Progress();
  const startedAt = new Date().toISOString();
  const stopped = stopRequest(progress);
  const run = new Run(progress);
  try {
    await Promise.race([scenario.run(run, options), stopped]);
    progress.end();
    const result = resultOf(run, {
      scenario: scenario.name,
      command,
      startedAt,
      options: plainValues(options),
    });
    printTable(result);
    await writeReport(result, files(options));
  } finally {
    await run[Symbol.asyncDispose]();
  }
  // That something could not be ended is one of them, too late for the table.
  return run.measured.problems.length === 0 ? 0 : 1;
}

function resultOf(
  run: Run,
  facts: Pick<BenchResult, 'scenario' | 'command' | 'startedAt' | 'options'>,
): BenchResult {
  for (const series of run.sampler.series()) run.measured.addSeries(series);
  const { metrics, histograms, series, spans, versions, notes, problems } = run.measured;
  return {
    schema: 1,
    ...facts,
    durationS: Number(run.second.toFixed(3)),
    machine: thisMachine(),
    versions,
    metrics,
    histograms,
    series: series.filter(({ points }) => points.length > 0),
    spans,
    notes,
    problems,
  };
}

function files({ json, html }: Values<typeof outputOptions>): ReportFiles {
  return { ...(json === undefined ? {} : { json }), ...(html === undefined ? {} : { html }) };
}

class Stopped extends Error {
  readonly exitCode = 130;
}

/** Rejects when somebody wishes an end, so that the run ends what it has started. */
async function stopRequest(progress: Progress): Promise<never> {
  await once(
    onStopRequest((line) => progress.say(line)),
    'abort',
  );
  throw new Stopped('stopped');
}

function tableOf(scenario: Scenario): OptionTable & typeof outputOptions {
  return { ...scenario.options, ...outputOptions };
}

function mainHelp(): string {
  const lines = SCENARIOS.map(({ name, summary }) => `  ${name.padEnd(12)}${summary}`);
  return `usage: npm run bench -- SCENARIO [options]

${lines.join('\n')}

  compare     two results with each other, for CI
  plan        what a fleet needs, from a result
  plot        a series of several results as an SVG

"npm run bench -- SCENARIO --help" tells the options of one, with units and defaults. See bench/README.md.
`;
}

function scenarioHelp(scenario: Scenario): string {
  const { name, description } = scenario;
  return `usage: npm run bench -- ${name} [${optionName('option')} value …]

${description}

Options:

${optionsHelp(tableOf(scenario))}
`;
}

try {
  // Explicit, since a handle that somebody forgot must not keep a finished run alive.
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exit((error as { exitCode?: number }).exitCode ?? 1);
}
