/**
 * The candidate that `name` was most likely meant to be, or `undefined` when none is near. Case and punctuation do
 * not count, and the last part alone may match (`queueType` → `amqp.queueType`).
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const wanted = squash(name);
  const tail = squash(name.split('.').at(-1)!);
  let best: string | undefined;
  // One slip in five characters, at least one; further away a suggestion misleads.
  let bestCost = Math.ceil(wanted.length / 5) + 1;
  for (const candidate of candidates) {
    const sameTail = squash(candidate.split('.').at(-1)!) === tail;
    const cost = Math.min(editDistance(wanted, squash(candidate)), sameTail ? 1 : Number.POSITIVE_INFINITY);
    if (cost < bestCost) [best, bestCost] = [candidate, cost];
  }
  return best;
}

/** Without case, punctuation and the prefix that all environment names share. */
function squash(name: string): string {
  return name
    .replace(/^OWSLA_/, '')
    .replace(/[^a-z0-9]/gi, '')
    .toLowerCase();
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, beforePrevious[j - 2]! + 1);
      row.push(cost);
    }
    [beforePrevious, previous] = [previous, row];
  }
  return previous[b.length]!;
}
