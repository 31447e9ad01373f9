import { checkCommand } from './dockerfile.mjs';
import { exists, readYaml } from './files.mjs';
import { durationMs, expectGrace, loadGatewayConfig } from './gateway.mjs';
import { hasTool, runTool } from './tool.mjs';

const PATH = 'docker-compose.yml';

/** The keys of the Compose specification that our file may use; a misspelt one is not among them. */
const TOP_KEYS = ['name', 'services', 'volumes', 'networks', 'configs', 'secrets'];
const SERVICE_KEYS = [
  ...['build', 'cap_add', 'cap_drop', 'command', 'configs', 'container_name', 'cpus', 'depends_on', 'deploy'],
  ...[
    'dns',
    'entrypoint',
    'env_file',
    'environment',
    'expose',
    'extra_hosts',
    'healthcheck',
    'hostname',
    'image',
  ],
  ...['init', 'labels', 'logging', 'mem_limit', 'networks', 'platform', 'ports', 'profiles', 'pull_policy'],
  ...[
    'read_only',
    'restart',
    'secrets',
    'security_opt',
    'stop_grace_period',
    'stop_signal',
    'sysctls',
    'tmpfs',
  ],
  ...['ulimits', 'user', 'volumes', 'working_dir'],
];
const BUILD_KEYS = ['context', 'dockerfile', 'args', 'target', 'platforms', 'labels'];
const HEALTH_KEYS = ['test', 'interval', 'timeout', 'retries', 'start_period', 'start_interval', 'disable'];
const CONDITIONS = ['service_started', 'service_healthy', 'service_completed_successfully'];

export async function lintCompose(report) {
  const compose = readYaml(PATH);
  await report.check(PATH, 'keys', (problem) => checkKeys(problem, compose));
  await report.check(PATH, 'services, volumes and commands refer to what exists', (problem) => {
    for (const [name, service] of Object.entries(compose.services))
      checkService(problem, compose, name, service);
  });
  await report.check(PATH, 'settings and grace period of the gateway', (problem) => {
    const { environment, stop_grace_period } = compose.services.gateway;
    const config = loadGatewayConfig(problem, environment);
    if (config !== undefined)
      expectGrace(problem, config, durationMs(stop_grace_period), 'stop_grace_period');
  });
  await report.check(PATH, 'Prometheus and Grafana address its services', (problem) => {
    for (const address of monitoringTargets()) {
      const service = compose.services[address.split(':')[0]];
      if (service === undefined) problem(`${address}: there is no such service`);
    }
  });
  if (hasTool('docker') && runTool('docker', ['compose', 'version']).status === 0) {
    await report.check(PATH, 'docker compose config', (problem) => {
      const { status, output } = runTool('docker', ['compose', '--file', PATH, 'config', '--quiet']);
      if (status !== 0 || output !== '') problem(output);
    });
  } else {
    report.skip(PATH, 'docker compose is not installed');
  }
}

function checkKeys(problem, compose) {
  const expectKeys = (where, value, keys) => {
    for (const key of Object.keys(value ?? {})) {
      if (!keys.includes(key) && !key.startsWith('x-')) problem(`${where}: unknown key ${key}`);
    }
  };
  expectKeys('top', compose, TOP_KEYS);
  for (const [name, service] of Object.entries(compose.services)) {
    expectKeys(name, service, SERVICE_KEYS);
    expectKeys(`${name}.build`, service.build, BUILD_KEYS);
    expectKeys(`${name}.healthcheck`, service.healthcheck, HEALTH_KEYS);
  }
}

function checkService(problem, compose, name, service) {
  if (service.image === undefined && service.build === undefined) problem(`${name}: neither image nor build`);
  if (service.build?.dockerfile !== undefined && !exists(service.build.dockerfile)) {
    problem(`${name}: there is no ${service.build.dockerfile}`);
  }

  const needed = Array.isArray(service.depends_on)
    ? service.depends_on.map((other) => [other, { condition: 'service_started' }])
    : Object.entries(service.depends_on ?? {});
  for (const [other, { condition }] of needed) {
    const target = compose.services[other];
    if (target === undefined) problem(`${name}: depends on ${other}, which does not exist`);
    else if (!CONDITIONS.includes(condition)) problem(`${name}: unknown condition ${condition}`);
    else if (condition === 'service_healthy' && target.healthcheck?.test === undefined) {
      problem(`${name}: waits for ${other} to be healthy, which has no health check here`);
    } else if (condition === 'service_completed_successfully' && target.restart !== 'no') {
      problem(`${name}: waits for ${other} to end, which is restarted`);
    }
  }

  for (const volume of service.volumes ?? []) {
    const [source, target] = volume.split(':');
    const named = !/^[./]/.test(source);
    if (!target?.startsWith('/')) problem(`${name}: volume ${volume} has no absolute place in the container`);
    if (named && !(source in compose.volumes)) problem(`${name}: volume ${source} is not declared`);
    if (!named && !exists(source)) problem(`${name}: there is no ${source}`);
  }
  for (const port of service.ports ?? []) {
    if (!/^([\d.]+:)?\d+:\d+$/.test(port))
      problem(`${name}: port ${port} is not of the form [address:]port:port`);
  }
  for (const command of [service.entrypoint, service.command, service.healthcheck?.test]) {
    if (Array.isArray(command)) checkCommand(problem, command);
  }
}

/** `host:port` of what Prometheus scrapes and Grafana asks. */
function monitoringTargets() {
  const { scrape_configs } = readYaml('deploy/prometheus/prometheus.yml');
  const { datasources } = readYaml('deploy/grafana/provisioning/datasources/prometheus.yml');
  return [
    ...scrape_configs.flatMap((job) => job.static_configs.flatMap((group) => group.targets)),
    ...datasources.map((source) => new URL(source.url).host),
  ];
}
