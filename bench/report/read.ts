import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { BenchResult } from './result.ts';

const pair = z.tuple([z.number(), z.number()]);

/** What is relied on when a file is read again; fields that a later version adds are let through. */
const RESULT = z.looseObject({
  schema: z.literal(1),
  scenario: z.string(),
  command: z.string(),
  startedAt: z.string(),
  durationS: z.number(),
  machine: z.looseObject({
    cpu: z.string(),
    cores: z.number(),
    memoryBytes: z.number(),
    kernel: z.string(),
  }),
  versions: z.record(z.string(), z.string()),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  metrics: z.array(
    z.looseObject({
      name: z.string(),
      unit: z.string(),
      value: z.number(),
      target: z.string(),
      better: z.enum(['lower', 'higher']).optional(),
      spread: pair.optional(),
    }),
  ),
  histograms: z.array(
    z.looseObject({
      name: z.string(),
      target: z.string(),
      count: z.number(),
      maxMs: z.number(),
      percentiles: z.array(pair),
    }),
  ),
  series: z.array(
    z.looseObject({ name: z.string(), unit: z.string(), target: z.string(), points: z.array(pair) }),
  ),
  spans: z.array(z.looseObject({ name: z.string(), fromS: z.number(), toS: z.number() })).optional(),
  notes: z.array(z.string()),
  problems: z.array(z.string()),
});

/**
 * Reads what `--json` wrote.
 * @throws Error with one line that names the file and what is wrong with it
 */
export async function readResult(file: string): Promise<BenchResult> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return parseResult(text, file);
}

/** @throws Error with one line that begins with `origin` */
export function parseResult(text: string, origin: string): BenchResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${origin}: is not JSON; expected what a run wrote with --json`);
  }
  const parsed = RESULT.safeParse(value);
  if (parsed.success) return parsed.data as BenchResult;
  const [issue] = parsed.error.issues;
  const where = issue!.path.length === 0 ? '' : `${issue!.path.join('.')}: `;
  throw new Error(`${origin}: is no result of a run: ${where}${issue!.message}`);
}
