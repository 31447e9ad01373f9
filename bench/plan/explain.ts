import { formatFigure, formatNumber } from '../report/format.ts';
import { textGrid } from '../report/text-grid.ts';
import { HEADROOM, MAX_CLUSTER_NODES, type Plan, RESERVED_DESCRIPTORS } from './model.ts';
import { COST_NAMES, COST_SOURCES, type CostedFrom, describeReading } from './unit-costs.ts';

/** One number of a plan, and in one line where it comes from. */
interface ExplainedNumber {
  readonly name: string;
  readonly value: string;
  readonly why: string;
}

function explain(plan: Plan): ExplainedNumber[] {
  return [
    { name: 'gateway processes', value: formatNumber(plan.processes), why: whyProcesses(plan) },
    { name: 'gateway machines', value: formatNumber(plan.machines), why: whyMachines(plan) },
    { name: 'broker nodes', value: brokerNodes(plan), why: whyBrokerNodes(plan) },
    { name: 'from_device shards', value: formatNumber(plan.shards), why: whyShards(plan) },
    { name: 'full reconnect', value: formatDuration(plan.reconnectS), why: whyReconnect(plan) },
    saturation(plan),
  ];
}

function whyProcesses({ fleet, capacity, ...plan }: Plan): string {
  const byDescriptors =
    `${formatNumber(plan.processesByDescriptors)} for ${formatNumber(fleet.devices)} devices at ` +
    `${formatNumber(plan.devicesPerProcess)} each (${percent(HEADROOM.descriptors)} of ` +
    `${formatNumber(capacity.descriptors)} − ${RESERVED_DESCRIPTORS} descriptors)`;
  const byCpu =
    `${formatNumber(plan.processesByCpu)} for ${formatNumber(plan.gatewayCores)} cores of work at ` +
    `${percent(HEADROOM.processCpu)} of a core each`;
  return `the larger of ${byDescriptors} and ${byCpu}`;
}

function whyMachines({ capacity, ...plan }: Plan): string {
  return (
    `the larger of ${formatNumber(plan.machinesByCores)} at ${formatNumber(capacity.machineCores)} cores, one ` +
    `process a core, and ${formatNumber(plan.machinesByMemory)} for ${formatFigure(plan.gatewayBytes, 'B')} at ` +
    `${percent(HEADROOM.memory)} of ${formatFigure(capacity.machineBytes, 'B')}; add one to survive the loss of one`
  );
}

function brokerNodes({ brokerNodes, brokerClusters }: Plan): string {
  const clusters = brokerClusters === 1 ? '' : ` in ${formatNumber(brokerClusters)} clusters`;
  return formatNumber(brokerNodes) + clusters;
}

function whyBrokerNodes({ capacity, ...plan }: Plan): string {
  const clusters =
    plan.brokerClusters === 1
      ? 'one cluster'
      : `${formatNumber(plan.brokerClusters)} clusters of at most ${MAX_CLUSTER_NODES}, each with its own gateways`;
  return (
    `the larger of ${formatNumber(capacity.replicas)} copies of each queue and ` +
    `${formatNumber(plan.brokerNodesByCpu)} for ${formatNumber(plan.hopsPerS)} messages/s, ` +
    `${formatNumber(plan.brokerCoresUsed)} cores of work, at ${percent(HEADROOM.brokerCpu)} of ` +
    `${formatNumber(capacity.brokerCores)} cores; ${clusters}`
  );
}

function whyShards({ fleet, brokerClusters, shards }: Plan): string {
  return (
    `${formatNumber(fleet.linesPerS)} lines/s at ${percent(HEADROOM.queueRate)} of what one queue passes on; ` +
    `amqp.shards: ${formatNumber(Math.ceil(shards / brokerClusters))}`
  );
}

function whyReconnect({ fleet, processes, gatewayReconnectPerS, brokerReconnectPerS }: Plan): string {
  const bounds = [
    ...(Number.isFinite(fleet.reconnectPerS)
      ? [`${formatNumber(fleet.reconnectPerS)} that are offered`]
      : []),
    `${formatNumber(gatewayReconnectPerS)} that ${formatNumber(processes)} gateway processes take`,
    `${formatNumber(brokerReconnectPerS)} whose events the broker takes`,
  ];
  return `connections/s, the least of: ${bounds.join(', ')}`;
}

function saturation({ resources }: Plan): ExplainedNumber {
  const [first, second] = resources;
  return {
    name: 'saturates first',
    value: first!.name,
    why: `${percent(first!.use)} of its end is in use; next: ${second!.name}, ${percent(second!.use)}`,
  };
}

/** What is planned for, in a line or two. */
function describeFleet({ fleet, capacity }: Plan): string[] {
  const { devices, linesPerS, repliesPerLine, churnPerS, resumedShare, sharedReplyShare } = fleet;
  return [
    `${formatNumber(devices)} devices, ${formatNumber(linesPerS)} lines/s in all, ` +
      `${formatNumber(repliesPerLine)} replies a line, ${percent(sharedReplyShare)} of them by the shared queue, ` +
      `${formatNumber(churnPerS)} new connections/s, ${percent(resumedShare)} of them resumed`,
    `gateway machines: ${formatNumber(capacity.machineCores)} cores, ` +
      `${formatFigure(capacity.machineBytes, 'B')}, ${formatNumber(capacity.descriptors)} descriptors a process; ` +
      `broker nodes: ${formatNumber(capacity.brokerCores)} cores, ` +
      `${formatNumber(capacity.replicas)} copies of each queue`,
  ];
}

export function renderPlan(plan: Plan, costed: CostedFrom): string {
  const numbers = explain(plan);
  const figures = textGrid(
    numbers.map(({ name, value }) => [name, value]),
    [0, 1],
  );
  return [
    ...describeFleet(plan),
    '',
    ...figures.flatMap((line, index) => [line, `    ${numbers[index]!.why}`]),
    '',
    ...textGrid(
      [
        ['unit cost', '', 'from'],
        ...costRows(costed).map(({ metric, value, from }) => [metric, value, from]),
      ],
      [0, 2],
    ),
    ...costed.warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}

/** Plans for several fleets side by side, and the unit costs they were made from, as Markdown. */
export function renderMarkdown(plans: readonly Plan[], costed: CostedFrom): string {
  const explained = plans.map(explain);
  const fleets = plans.map(({ fleet }) => fleet);
  const rows = [
    ['devices', ...fleets.map(({ devices }) => formatNumber(devices))],
    ['lines/s in all', ...fleets.map(({ linesPerS }) => formatNumber(linesPerS))],
    ...explained[0]!.map(({ name }, index) => [name, ...explained.map((numbers) => numbers[index]!.value)]),
    ['cores of gateway work', ...plans.map(({ gatewayCores }) => formatNumber(gatewayCores))],
    ['gateway memory', ...plans.map(({ gatewayBytes }) => formatFigure(gatewayBytes, 'B'))],
    ['messages/s at the broker', ...plans.map(({ hopsPerS }) => formatNumber(hopsPerS))],
  ];
  const costs = costRows(costed);
  const assumed = costs.filter(({ isAssumed }) => isAssumed).length;
  return [
    ...markdownTable(rows),
    '',
    `Made from these unit costs, of which ${assumed} of ${costs.length} are **assumed**, not measured:`,
    '',
    ...markdownTable([
      ['unit cost', 'read from', 'value', 'from'],
      ...costs.map(({ meaning, readings, value, from }) => [meaning, readings, value, from]),
    ]),
    ...(costed.warnings.length > 0
      ? ['', ...costed.warnings.map((warning) => `- Warning: ${warning}.`)]
      : []),
  ].join('\n');
}

function costRows({ costs, files }: CostedFrom) {
  return COST_NAMES.map((name) => {
    const { unit, meaning, readings, basis } = COST_SOURCES[name];
    const file = files[name];
    return {
      metric: readings[0].metric,
      readings: readings.map(describeReading).join('; or '),
      meaning,
      value: formatFigure(costs[name], unit),
      isAssumed: file === undefined,
      from: file ?? `assumed (${basis})`,
    };
  });
}

/** The first row is the head. */
function markdownTable([head, ...body]: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map(escapeCell).join(' | ')} |`;
  return [line(head!), `| ${head!.map(() => '---').join(' | ')} |`, ...body.map(line)];
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function percent(share: number): string {
  return `${formatNumber(share * 100)} %`;
}

/** `45 s`, `12 min`, `3.5 h` */
export function formatDuration(seconds: number): string {
  if (seconds < 120) return `${formatNumber(Math.ceil(seconds))} s`;
  const minutes = seconds / 60;
  if (minutes < 120) return `${formatNumber(Math.round(minutes))} min`;
  return `${formatNumber(Math.round(minutes / 6) / 10)} h`;
}
