/** What a device does after a failed attempt. Pure. */
export type RetryKind = 'none' | 'fixed' | 'exponential';

export interface RetryPolicy {
  readonly kind: RetryKind;
  /** `fixed`: the wait; `exponential`: bound of the first wait. */
  readonly minMs: number;
  /** `exponential`: largest bound. */
  readonly maxMs: number;
  /** Attempts after the first; 0: without end. */
  readonly limit: number;
}

/**
 * The wait before the next attempt, or `undefined` when the device gives up. `exponential` has full jitter:
 * uniform from 0 to a bound that doubles with each failure.
 * @param failures how many attempts have failed since the last success, from 1
 */
export function retryWaitMs(
  policy: RetryPolicy,
  failures: number,
  random: () => number = Math.random,
): number | undefined {
  if (policy.kind === 'none') return undefined;
  if (policy.limit > 0 && failures > policy.limit) return undefined;
  if (policy.kind === 'fixed') return policy.minMs;
  return random() * Math.min(policy.maxMs, policy.minMs * 2 ** (failures - 1));
}
