/** Prints what was checked, what is wrong with it, and what could not be checked; one line each. */
export class Report {
  failed = false;

  /**
   * Runs one check. `find` calls its argument once for each problem, or throws when it cannot go on.
   * @param {string} subject a file, as the reader knows it
   * @param {string} what what is checked of it
   * @param {(problem: (message: string) => void) => unknown} find
   * @returns whether nothing is wrong
   */
  async check(subject, what, find) {
    const problems = [];
    try {
      await find((message) => problems.push(message));
    } catch (error) {
      problems.push(error.message);
    }
    if (problems.length === 0) console.log(`ok    ${subject}: ${what}`);
    else this.failed = true;
    for (const problem of problems) console.log(`WRONG ${subject}: ${oneLine(problem)}`);
    return problems.length === 0;
  }

  /** Something that this machine lacks the means to check. */
  skip(subject, why) {
    console.log(`skip  ${subject}: ${why}`);
  }
}

function oneLine(text) {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ');
}
