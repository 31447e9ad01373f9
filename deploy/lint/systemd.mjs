import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { read } from './files.mjs';
import { durationMs, expectGrace, loadGatewayConfig } from './gateway.mjs';
import { hasTool, runTool } from './tool.mjs';

const UNIT = 'deploy/systemd/owsla.service';
const CONFIG = 'deploy/systemd/owsla.yaml';
/** EX_CONFIG of sysexits.h: what the gateway ends with when it refuses its configuration. */
const EXIT_CONFIG = '78';

export async function lintSystemd(report) {
  await report.check(UNIT, 'exit codes, grace period and limits', (problem) => {
    const config = loadGatewayConfig(problem, { ...environmentOf(), ...SECRET }, CONFIG);
    if (config !== undefined)
      expectGrace(problem, config, durationMs(valuesOf('TimeoutStopSec')[0]), 'TimeoutStopSec');
    if (!valuesOf('RestartPreventExitStatus').join(' ').split(' ').includes(EXIT_CONFIG)) {
      problem(`a gateway that refuses its configuration (${EXIT_CONFIG}) would be started again and again`);
    }
    if (!(Number(valuesOf('LimitNOFILE')[0]) >= 65_536))
      problem('LimitNOFILE is missing, or lower than 65536');
    const loaded = valuesOf('LoadCredential').map((value) => value.split(':')[0]);
    for (const path of [config?.tls.cert, config?.tls.key]) {
      if (path?.startsWith('%d/') && !loaded.includes(path.slice(3)))
        problem(`${path}: no LoadCredential= for it`);
    }
  });
  if (!hasTool('systemd-analyze')) {
    report.skip(UNIT, 'systemd-analyze is not installed');
    return;
  }
  await report.check(UNIT, 'systemd-analyze verify', (problem) => {
    const folder = mkdtempSync(join(tmpdir(), 'owsla-lint-'));
    try {
      // It wants the program to be there; this machine may have Node elsewhere.
      const unit = read(UNIT).replace('ExecStart=/usr/bin/node', `ExecStart=${process.execPath}`);
      const path = join(folder, 'owsla.service');
      writeFileSync(path, unit);
      const { status, output } = runTool('systemd-analyze', ['verify', '--man=no', path]);
      // An unknown key is a warning to it, since a newer systemd may know it.
      if (status !== 0 || output !== '') problem(output);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

/** What EnvironmentFile= brings. */
const SECRET = { OWSLA_AMQP_URL: 'amqp://secret.example' };

function valuesOf(key) {
  return [...read(UNIT).matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value);
}

function environmentOf() {
  const assignments = valuesOf('Environment').flatMap((value) => value.split(/\s+/));
  return Object.fromEntries(assignments.map((text) => text.split(/=(.*)/, 2)));
}
