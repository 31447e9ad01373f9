import { exists, readYaml } from './files.mjs';
import { unknownMetrics } from './metrics.mjs';
import { promtool } from './promtool.mjs';
import { hasTool } from './tool.mjs';

const CONFIG = 'deploy/prometheus/prometheus.yml';
const ALERTS = 'deploy/prometheus/alerts.yml';
const TESTS = 'deploy/prometheus/alerts.test.yml';

export async function lintPrometheus(report) {
  const rules = readYaml(ALERTS).groups.flatMap((group) => group.rules);
  await report.check(ALERTS, 'metrics, severities and texts', (problem) => {
    const names = new Set();
    for (const { alert, expr, labels, annotations } of rules) {
      for (const name of unknownMetrics(expr)) problem(`${alert}: nothing exports ${name}`);
      if (!['warning', 'critical'].includes(labels?.severity)) problem(`${alert}: no severity`);
      if (!annotations?.summary || !annotations.description)
        problem(`${alert}: no summary or no description`);
      if (names.has(alert)) problem(`${alert}: exists twice`);
      names.add(alert);
    }
  });
  if (!hasTool('promtool')) {
    report.skip('deploy/prometheus', 'promtool is not installed');
    return;
  }
  await report.check(CONFIG, 'promtool check config', (problem) => {
    promtool(problem, 'check', 'config', '--syntax-only', CONFIG);
    for (const file of readYaml(CONFIG).rule_files) {
      if (!exists(`deploy/prometheus/${file}`)) problem(`there is no ${file}`);
    }
  });
  const valid = await report.check(ALERTS, 'promtool check rules', (problem) => {
    promtool(problem, 'check', 'rules', ALERTS);
  });
  if (!valid) return;
  await report.check(TESTS, 'promtool test rules', (problem) => {
    promtool(problem, 'test', 'rules', TESTS);
  });
}
