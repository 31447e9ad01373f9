import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { HEADROOM } from '../../../../bench/plan/model.ts';
import { COST_NAMES, COST_SOURCES, describeReading } from '../../../../bench/plan/unit-costs.ts';

const page = readFileSync(new URL('../../../../docs/scaling.md', import.meta.url), 'utf8');

describe('docs/scaling.md', () => {
  test('has the headroom of the model', () => {
    for (const [name, share] of Object.entries(HEADROOM)) {
      expect(page).toContain(`| ${Math.round(share * 100)} % | \`${name}\` |`);
    }
  });

  test('has the unit costs of the model, and what each means', () => {
    for (const name of COST_NAMES) {
      const { meaning, readings } = COST_SOURCES[name];
      expect(page).toContain(`| ${meaning} | ${readings.map(describeReading).join('; or ')} |`);
    }
  });
});
