/**
 * The configuration cannot be used. `message` holds one line per problem, each naming the key, where its value
 * came from, the value (masked if it may hold a secret) and what was expected. Never worth a retry.
 */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'config_invalid';
  readonly severity = 'fatal';
  readonly retryable = false;
  /** EX_CONFIG of sysexits.h. */
  readonly exitCode = 78;
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}
