const NOBODY = 65_534;

export const isRoot = process.geteuid?.() === 0;

/** Does it with the rights of a user who has none; only root can. */
export function asNobody<T>(work: () => T): T {
  process.seteuid!(NOBODY);
  try {
    return work();
  } finally {
    process.seteuid!(0);
  }
}
