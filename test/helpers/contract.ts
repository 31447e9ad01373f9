import { readFileSync } from 'node:fs';
import { Ajv2019 } from 'ajv/dist/2019.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

const { components } = parse(readFileSync(new URL('../../docs/asyncapi.yaml', import.meta.url), 'utf8'));
const ajv = new Ajv2019({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addSchema({ components }, 'contract');

/** Why an event is not as the published contract says: nothing when it is. A field it does not name counts too. */
export function problemsOf(event: Record<string, unknown>): string[] {
  const schema = String(event.event).replace(/\.(.)/, (_, letter: string) => letter.toUpperCase());
  const $ref = `contract#/components/schemas/${schema}`;
  const validate = ajv.compile({ $ref, unevaluatedProperties: false });
  validate(event);
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) =>
      `${event.event}${instancePath} ${message} ${JSON.stringify(params)}: ${JSON.stringify(event)}`,
  );
}
