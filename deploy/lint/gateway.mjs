import { tsImport } from 'tsx/esm/api';
import { read } from './files.mjs';

const importGateway = (path) => tsImport(`../../src/${path}`, import.meta.url);

const { CONFIG_KEYS } = await importGateway('config/keys.ts');
const { RESERVED_ENV_NAMES } = await importGateway('config/from-environment.ts');
const { loadConfig } = await importGateway('config/load.ts');
const { missingKeys } = await importGateway('config/requirements.ts');

/** Names of environment variables that the gateway knows. */
export const ENVIRONMENT_NAMES = new Set([...CONFIG_KEYS.map((key) => key.env), ...RESERVED_ENV_NAMES]);

/**
 * Loads a configuration as the gateway would, and calls `problem` for what it would refuse.
 * @param {Record<string, string>} env the environment as the deployment file sets it
 * @param {string} [configFile] path in this repository of the file that --config will name
 * @returns the configuration, or undefined
 */
export function loadGatewayConfig(problem, env, configFile) {
  const gatewayOnly = Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('OWSLA_')));
  const argv = ['start', ...(configFile === undefined ? [] : ['--config', configFile])];
  try {
    const { config, sources } = loadConfig({ argv, env: gatewayOnly, readFile: read });
    for (const missing of missingKeys(sources)) problem(missing);
    return config;
  } catch (error) {
    if (!Array.isArray(error.problems)) throw error;
    error.problems.forEach(problem);
    return undefined;
  }
}

/** What the gateway may take beyond the two time-outs before it kills a worker that hangs. */
const MARGIN_MS = 5_000;

/**
 * Whoever stops the gateway has to give it the time that it was configured to take; and in that time a full worker has to
 * be able to close all its connections, or the rest are cut off at once.
 */
export function expectGrace(problem, config, graceMs, name) {
  const { notReadyMs, timeoutMs, closeRate } = config.shutdown;
  const neededMs = notReadyMs + timeoutMs + MARGIN_MS;
  if (graceMs < neededMs) {
    problem(
      `${name} is ${graceMs} ms; shutdown.notReadyMs + shutdown.timeoutMs and some seconds are ${neededMs} ms`,
    );
  }
  const { maxConnections } = config.listen;
  const closable = (closeRate * (timeoutMs - MARGIN_MS)) / 1_000;
  if (maxConnections > closable) {
    problem(
      `shutdown.timeoutMs is enough to close ${closable} connections, listen.maxConnections is ${maxConnections}`,
    );
  }
}

const UNIT_MS = { ms: 1, s: 1_000, sec: 1_000, m: 60_000, min: 60_000, h: 3_600_000 };

/** `1m30s`, `5min`, `60s` as Compose and systemd write them; a bare number is seconds. */
export function durationMs(text) {
  const parts = [...String(text).matchAll(/(\d+)\s*([a-z]*)/g)];
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * UNIT_MS[unit || 's'], 0);
}
