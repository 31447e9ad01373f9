import type { OptionTable, Values } from '../cli/option-table.ts';
import type { Run } from '../run.ts';

/** One kind of load, and what is measured under it. */
export interface Scenario<T extends OptionTable = OptionTable> {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** A few lines about what it does and what its figures mean. */
  readonly description: string;
  readonly options: T;
  /** Enters what it measures into the run. @throws Error when it cannot be measured */
  run(run: Run, options: Values<T>): Promise<void>;
}

/** Keeps the types of the options together with their table. */
export function scenario<const T extends OptionTable>(definition: Scenario<T>): Scenario<T> {
  return definition;
}
