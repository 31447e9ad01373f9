// node deploy/lint.mjs
//
// Checks the deployment files, as far as that is possible without Docker, Kubernetes or a running systemd: that they
// have the right form, that what they refer to exists, and that their settings are ones the gateway takes. Prints one
// line for each thing that was looked at; exits with 1 when something is wrong.
//
// Needs the development dependencies. promtool, systemd-analyze, shellcheck, kubectl and docker compose are used where
// they are installed.

import { lintCompose } from './lint/compose.mjs';
import { lintDockerfile } from './lint/dockerfile.mjs';
import { lintEnvironmentNames } from './lint/environment-names.mjs';
import { lintGrafana } from './lint/grafana.mjs';
import { lintKubernetes } from './lint/kubernetes.mjs';
import { lintPrometheus } from './lint/prometheus.mjs';
import { Report } from './lint/report.mjs';
import { lintShell } from './lint/shell.mjs';
import { lintSysctl } from './lint/sysctl.mjs';
import { lintSystemd } from './lint/systemd.mjs';
import { lintYaml } from './lint/yaml.mjs';

const report = new Report();
await lintYaml(report);
// What does not parse can't be looked into.
if (!report.failed) {
  await lintEnvironmentNames(report);
  await lintDockerfile(report);
  await lintCompose(report);
  await lintKubernetes(report);
  await lintSystemd(report);
  await lintPrometheus(report);
  await lintGrafana(report);
  await lintSysctl(report);
  await lintShell(report);
}
process.exit(report.failed ? 1 : 0);
