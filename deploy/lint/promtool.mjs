import { runTool } from './tool.mjs';

/** Calls `problem` once for each thing that promtool does not like. */
export function promtool(problem, ...args) {
  const { status, output } = runTool('promtool', args);
  if (status === 0) return;
  const said = output.split('\n').map((line) => line.trim());
  const complaints = said.filter(
    (line) => !/^(Checking .*|Unit Testing: .*|SUCCESS.*|FAILED:?|)$/.test(line),
  );
  // What a test expected and what it got are one complaint.
  const found = args[0] === 'test' ? [complaints.join(' ')] : new Set(complaints);
  for (const complaint of found) problem(complaint);
}
