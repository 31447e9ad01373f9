/** Half to one and a half, for periods that several nodes must not keep in step. */
export function jitter(): number {
  return 0.5 + Math.random();
}
