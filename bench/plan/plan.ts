import { readResult } from '../report/read.ts';
import { parsePlanArguments, USAGE } from './arguments.ts';
import { renderMarkdown, renderPlan } from './explain.ts';
import { plan } from './model.ts';
import { unitCosts } from './unit-costs.ts';

const BAD_USAGE = 64;

/** `bench plan`. Returns the exit status. */
export async function planCommand(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const { fleets, capacity, resultFiles, isMarkdown } = parsePlanArguments(args);
    const costed = unitCosts(
      await Promise.all(resultFiles.map(async (file) => ({ file, result: await readResult(file) }))),
    );
    const plans = fleets.map((fleet) => plan(fleet, capacity, costed.costs));
    const text = isMarkdown ? renderMarkdown(plans, costed) : renderPlan(plans[0]!, costed);
    process.stdout.write(`${text}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`bench plan: ${(error as Error).message}\n`);
    return BAD_USAGE;
  }
}
