/** Columns of text, padded to the same width. The first one is set flush left, the others flush right. */
export function textGrid(
  rows: readonly (readonly string[])[],
  leftColumns: readonly number[] = [0],
): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    }
  }
  return rows.map((row) =>
    row
      .map((cell, column) =>
        leftColumns.includes(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('  ')
      .trimEnd(),
  );
}
