import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import client from 'prom-client';
import { ROOT, read } from './files.mjs';

/** What the files use of RabbitMQ's own metrics (plugin rabbitmq_prometheus, 3.10 and later). */
const RABBITMQ = [
  'rabbitmq_alarms_memory_used_watermark',
  'rabbitmq_alarms_free_disk_space_watermark',
  'rabbitmq_alarms_file_descriptor_limit',
  'rabbitmq_detailed_queue_consumers',
  'rabbitmq_detailed_queue_messages',
  'rabbitmq_detailed_queue_messages_ready',
  'rabbitmq_process_resident_memory_bytes',
];

/** Names as they stand in the code that makes them. */
function gatewayMetrics() {
  const files = ['src/observability', 'src/supervisor'].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`),
  );
  return files.flatMap((path) => [...read(path).matchAll(/'(owsla_[a-z_]+)'/g)].map(([, name]) => name));
}

function defaultMetrics() {
  const registry = new client.Registry();
  client.collectDefaultMetrics({ register: registry });
  return registry.getMetricsAsArray().map(({ name }) => name);
}

const KNOWN = new Set([...RABBITMQ, ...gatewayMetrics(), ...defaultMetrics()]);

/** Names of metrics in a PromQL expression that nothing exports. */
export function unknownMetrics(expression) {
  const names = expression.match(/\b(owsla|process|nodejs|rabbitmq)_[a-z0-9_]+/g) ?? [];
  return names.filter((name) => !KNOWN.has(name) && !KNOWN.has(name.replace(/_(bucket|sum|count)$/, '')));
}
