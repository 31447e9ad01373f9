import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, readYaml, readYamlDocuments } from './files.mjs';
import { expectGrace, loadGatewayConfig } from './gateway.mjs';
import { findTypeErrors } from './kubernetes-types.mjs';
import { hasTool, runTool } from './tool.mjs';

const FOLDER = 'deploy/kubernetes';
const EXAMPLES = 'secrets.example.yaml';
/** Resources of operators, which a cluster may lack: part of the folder, not of the kustomization. */
const OPTIONAL = ['servicemonitor.yaml'];

export async function lintKubernetes(report) {
  const kustomization = readYaml(`${FOLDER}/kustomization.yaml`);
  const complete = await report.check(FOLDER, 'kustomization and files agree', (problem) =>
    checkFolder(problem, kustomization),
  );
  if (!complete) return;
  const objects = [...kustomization.resources, ...OPTIONAL, EXAMPLES].flatMap((file) =>
    readYamlDocuments(`${FOLDER}/${file}`).map((object) => ({ file, object })),
  );
  const cluster = new Cluster(
    kustomization,
    objects.map(({ object }) => object),
  );

  await report.check(FOLDER, 'types of every field (kubernetes-types)', (problem) => {
    for (const { file, object } of objects) {
      if (!object.apiVersion || !object.kind || !object.metadata?.name) {
        problem(`${file}: an object without apiVersion, kind or metadata.name`);
      }
    }
    for (const { index, message } of findTypeErrors(objects.map(({ object }) => object))) {
      problem(`${objects[index].file}: ${message}`);
    }
  });
  await report.check(FOLDER, 'labels, ports, volumes, secrets and probes refer to what exists', (problem) => {
    for (const deployment of cluster.all('Deployment')) checkDeployment(problem, cluster, deployment);
    for (const service of cluster.all('Service')) checkService(problem, cluster, service);
    for (const budget of cluster.all('PodDisruptionBudget')) {
      if (!cluster.podsWith(budget.spec.selector.matchLabels))
        problem('the PodDisruptionBudget selects no pods');
    }
    for (const monitor of cluster.all('ServiceMonitor')) checkMonitor(problem, cluster, monitor);
  });
  await report.check(FOLDER, 'settings and grace period of the gateway', (problem) => {
    for (const deployment of cluster.all('Deployment')) checkGateway(problem, cluster, deployment);
  });
  if (hasTool('kubectl')) {
    await report.check(FOLDER, 'kubectl kustomize', (problem) => {
      const { status, output } = runTool('kubectl', ['kustomize', FOLDER]);
      if (status !== 0) problem(output);
    });
  } else {
    report.skip(FOLDER, 'kubectl is not installed');
  }
}

class Cluster {
  constructor(kustomization, objects) {
    this.objects = objects;
    this.configMaps = new Map(
      kustomization.configMapGenerator.map(({ name, files }) => [
        name,
        files.map((file) => file.split('=').at(-1)),
      ]),
    );
  }

  all(kind) {
    return this.objects.filter((object) => object.kind === kind);
  }

  /** The pod template that carries all of these labels. */
  podsWith(labels) {
    const found = this.all('Deployment').find(({ spec }) => includes(spec.template.metadata.labels, labels));
    return found?.spec.template;
  }

  /** Keys of a Secret that the examples show; a certificate's are given by its type. */
  secretKeys(name) {
    const secret = this.all('Secret').find((object) => object.metadata.name === name);
    if (secret !== undefined) return Object.keys(secret.stringData ?? {});
    const issued = this.all('Certificate').some(({ spec }) => spec.secretName === name);
    return issued ? ['tls.crt', 'tls.key', 'ca.crt'] : undefined;
  }
}

function includes(labels, wanted) {
  return Object.entries(wanted).every(([name, value]) => labels?.[name] === value);
}

function checkFolder(problem, { resources, configMapGenerator }) {
  const present = readdirSync(join(ROOT, FOLDER));
  const used = [...resources, ...configMapGenerator.flatMap(({ files }) => files)];
  for (const file of used)
    if (!present.includes(file)) problem(`kustomization.yaml names ${file}, which does not exist`);
  for (const file of present) {
    if (![...used, ...OPTIONAL, EXAMPLES, 'kustomization.yaml'].includes(file))
      problem(`nothing uses ${file}`);
  }
}

function checkDeployment(problem, cluster, { metadata, spec }) {
  const { template } = spec;
  const pod = template.spec;
  const selectors = [spec.selector, ...(pod.topologySpreadConstraints ?? []).map((one) => one.labelSelector)];
  for (const { matchLabels } of selectors) {
    if (!includes(template.metadata.labels, matchLabels)) {
      problem(`${metadata.name}: selector ${JSON.stringify(matchLabels)} does not match the pod's labels`);
    }
  }
  if (pod.enableServiceLinks !== false) problem(`${metadata.name}: enableServiceLinks is not false`);
  if (!(pod.securityContext?.runAsNonRoot && pod.securityContext.runAsUser > 0)) {
    problem(`${metadata.name}: may run as root`);
  }

  const volumes = new Map(pod.volumes.map((volume) => [volume.name, volume]));
  for (const { name, configMap, secret } of volumes.values()) {
    if (configMap !== undefined && !cluster.configMaps.has(configMap.name)) {
      problem(`volume ${name}: nothing makes the ConfigMap ${configMap.name}`);
    }
    if (secret !== undefined && cluster.secretKeys(secret.secretName) === undefined) {
      problem(`volume ${name}: ${EXAMPLES} does not show the Secret ${secret.secretName}`);
    }
  }
  for (const container of pod.containers) {
    for (const { name } of container.volumeMounts ?? []) {
      if (!volumes.has(name)) problem(`${container.name}: mounts ${name}, which is no volume of the pod`);
    }
    const ports = container.ports.map(({ name }) => name);
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const port = container[probe]?.httpGet?.port;
      if (!ports.includes(port))
        problem(`${container.name}: ${probe} asks port ${port}, which has no such name`);
    }
    for (const { name, valueFrom } of container.env) {
      const ref = valueFrom?.secretKeyRef;
      if (ref !== undefined && !cluster.secretKeys(ref.name)?.includes(ref.key)) {
        problem(`${name}: ${EXAMPLES} does not show key ${ref.key} of the Secret ${ref.name}`);
      }
    }
  }
}

function checkService(problem, cluster, { metadata, spec }) {
  const template = cluster.podsWith(spec.selector);
  if (template === undefined) {
    problem(`Service ${metadata.name}: selects no pods`);
    return;
  }
  const names = template.spec.containers.flatMap(({ ports }) => ports.map(({ name }) => name));
  for (const { targetPort } of spec.ports) {
    if (!names.includes(targetPort))
      problem(`Service ${metadata.name}: no port of the pods is named ${targetPort}`);
  }
}

function checkMonitor(problem, cluster, { metadata, spec }) {
  const services = cluster
    .all('Service')
    .filter((one) => includes(one.metadata.labels, spec.selector.matchLabels));
  if (services.length !== 1) problem(`ServiceMonitor ${metadata.name}: selects ${services.length} Services`);
  for (const { port } of spec.endpoints) {
    const found = services.some((service) => service.spec.ports.some(({ name }) => name === port));
    if (!found) problem(`ServiceMonitor ${metadata.name}: the Service has no port named ${port}`);
  }
}

/** The configuration as a pod would load it: mounted file, then environment. */
function checkGateway(problem, cluster, { spec }) {
  const pod = spec.template.spec;
  const [container] = pod.containers;
  const file = container.args[container.args.indexOf('--config') + 1];
  const source = fileBehind(cluster, pod, container, file);
  if (source === undefined) {
    problem(`--config ${file}: no ConfigMap is mounted there`);
    return;
  }
  const env = Object.fromEntries(
    container.env.map(({ name, value }) => [name, value ?? 'amqp://secret.example']),
  );
  const config = loadGatewayConfig(problem, env, `${FOLDER}/${source}`);
  if (config === undefined) return;
  for (const path of [config.tls.cert, config.tls.key]) {
    if (fileBehind(cluster, pod, container, path) === undefined)
      problem(`${path}: no Secret is mounted there`);
  }
  const numbers = container.ports.map(({ containerPort }) => containerPort);
  for (const port of [config.listen.port, config.admin.port]) {
    if (!numbers.includes(port)) problem(`the gateway listens on ${port}, which the container does not name`);
  }
  if (config.admin.host === '127.0.0.1') problem('probes cannot reach an admin server on 127.0.0.1');
  const cores = Number(container.resources.requests.cpu);
  if (config.workers !== cores) problem(`${config.workers} workers for ${cores} requested CPUs`);
  expectGrace(problem, config, pod.terminationGracePeriodSeconds * 1_000, 'terminationGracePeriodSeconds');
}

/** The key of a mounted ConfigMap or Secret that is at this path in the container. */
function fileBehind(cluster, pod, container, path) {
  const mount = container.volumeMounts.find(({ mountPath }) => path.startsWith(`${mountPath}/`));
  const volume = pod.volumes.find(({ name }) => name === mount?.name);
  const keys = volume?.configMap
    ? cluster.configMaps.get(volume.configMap.name)
    : cluster.secretKeys(volume?.secret?.secretName);
  const key = path.slice((mount?.mountPath.length ?? 0) + 1);
  return keys?.includes(key) ? key : undefined;
}
