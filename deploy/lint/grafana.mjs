import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { read, readYaml } from './files.mjs';
import { unknownMetrics } from './metrics.mjs';
import { promtool } from './promtool.mjs';
import { hasTool } from './tool.mjs';

const DASHBOARD = 'deploy/grafana/dashboards/owsla.json';
const DATASOURCES = 'deploy/grafana/provisioning/datasources/prometheus.yml';
const PROVIDERS = 'deploy/grafana/provisioning/dashboards/owsla.yml';

export async function lintGrafana(report) {
  await report.check(DASHBOARD, 'panels, data source and metrics', (problem) => {
    const { panels, templating } = JSON.parse(read(DASHBOARD));
    const [{ uid }] = readYaml(DATASOURCES).datasources;
    const ids = new Set(panels.map((panel) => panel.id));
    if (ids.size !== panels.length) problem('two panels have one id');
    for (const { title, type, datasource, targets = [], gridPos } of panels) {
      if (type === 'row') continue;
      if (datasource.uid !== uid)
        problem(`${title}: data source ${datasource.uid}, but ${uid} is provisioned`);
      if (targets.length === 0) problem(`${title}: no query`);
      if (gridPos.x + gridPos.w > 24) problem(`${title}: wider than the grid`);
      for (const { expr } of targets) {
        for (const name of unknownMetrics(expr)) problem(`${title}: nothing exports ${name}`);
      }
    }
    for (const { name, query } of templating.list) {
      for (const metric of unknownMetrics(query.query)) problem(`$${name}: nothing exports ${metric}`);
    }
  });
  await report.check(PROVIDERS, 'folder is the one that docker-compose.yml mounts', (problem) => {
    const [{ options }] = readYaml(PROVIDERS).providers;
    const { volumes } = readYaml('docker-compose.yml').services.grafana;
    if (!volumes.some((volume) => volume.split(':')[1] === options.path))
      problem(`${options.path} is not mounted`);
  });
  if (!hasTool('promtool')) {
    report.skip(DASHBOARD, 'promtool is not installed');
    return;
  }
  await report.check(DASHBOARD, 'queries parse (promtool)', (problem) => {
    const { panels } = JSON.parse(read(DASHBOARD));
    const rules = panels
      .flatMap(({ targets = [] }) => targets)
      .map(({ expr }, index) => ({ record: `query:${index}`, expr: withoutVariables(expr) }));
    const folder = mkdtempSync(join(tmpdir(), 'owsla-lint-'));
    try {
      const path = join(folder, 'queries.yml');
      writeFileSync(path, stringify({ groups: [{ name: 'dashboard', rules }] }));
      // Without the place in the file of our making.
      const report = (message) => problem(message.replace(/^.* "(query:\d+)": /, '$1: '));
      promtool(report, 'check', 'rules', path);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

/** As Grafana would fill them in. */
function withoutVariables(expression) {
  return expression.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*');
}
