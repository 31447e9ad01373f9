import { describe, expect, it, test } from 'vitest';
import type { Environment } from '../../../src/config/from-environment.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { changedKeys, keepFixedKeys } from '../../../src/config/reload.ts';
import type { Sources } from '../../../src/config/sources.ts';

const read = (yaml: string, { env = {}, running = {} }: { env?: Environment; running?: Sources } = {}) =>
  loadConfig({ argv: ['--config', '/etc/owsla/owsla.yaml'], env, readFile: () => yaml, running });

const load = (yaml: string) => read(yaml).config;

test('a configuration that is read again keeps what only a new start applies, and names it', () => {
  const running = load('workers: 2\nlisten: { port: 1, acceptors: 10 }');
  const loaded = load('workers: 3\nlisten: { port: 2, acceptors: 20 }\nadmin: { port: 9464 }');
  const { config, ignored } = keepFixedKeys(loaded, running);
  expect([...ignored].sort()).toEqual(['listen.port', 'workers']);
  expect(config).toMatchObject({ workers: 2, listen: { port: 1, acceptors: 20 } });
  expect(loaded.workers).toBe(3);
});

test('an unchanged configuration ignores nothing', () => {
  const running = load('workers: 2');
  expect(keepFixedKeys(load('workers: 2'), running)).toEqual({ config: running, ignored: [] });
});

test('keys that differ are named, in the order of the schema', () => {
  const running = load('proxy: { trusted: [10.0.0.0/8] }\namqp: { url: [amqp://a, amqp://b] }');
  const loaded = load(
    `log: { level: info }\namqp: { url: amqp://a }\ntls: { ticketSecret: ${'x'.repeat(32)} }`,
  );
  const names = ['proxy.trusted', 'tls.ticketSecret', 'amqp.url'];
  expect(changedKeys(loaded, running)).toEqual(names);
  expect(changedKeys(running, loaded)).toEqual(names);
});

test('a value that is only written otherwise is no change', () => {
  const running = load('amqp: { url: [amqp://a, amqp://b] }\nendpoint: { idleTimeoutMs: 10m }');
  const loaded = load('amqp: { url: "amqp://a, amqp://b" }\nendpoint: { idleTimeoutMs: 600s }');
  expect(changedKeys(loaded, running)).toEqual([]);
});

describe('a file without settings', () => {
  const { sources: running } = read('tls: { clientAuth: required, clientCa: ca.pem }\nworkers: 2');

  it.each(['', ' \n\t\n', '# tls:', '---\n', 'tls:', 'tls: {}'])(
    'is refused where it had some: %j',
    (yaml) => {
      expect(() => read(yaml, { running })).toThrow(
        /^owsla\.yaml: empty, while the running configuration has 3 settings from it; write it again, or, to go back to the defaults, start the gateway again$/,
      );
    },
  );

  it('is all that is told, not what else is wrong because of it', () => {
    const env = { OWSLA_TLS_CLIENT_AUTH: 'required' };
    const { sources } = read('tls: { clientCa: ca.pem }', { env });
    expect(() => read('', { env })).toThrow('clientCa');
    expect(() => read('', { env, running: sources })).toThrow(
      /^owsla\.yaml: empty, .* has 1 setting from it;.*$/,
    );
  });

  it('is taken where it had none, or none that was in force', () => {
    const env = { OWSLA_WORKERS: '3' };
    expect(read('', { running: read('# nothing').sources }).config.workers).toBe(0);
    expect(read('', { env, running: read('workers: 2', { env }).sources }).config.workers).toBe(3);
  });

  it('is not one whose only setting the environment overrides, or that is broken', () => {
    expect(read('workers: 2', { env: { OWSLA_WORKERS: '3' }, running }).config.workers).toBe(3);
    expect(() => read('tls: [', { running })).toThrow('not valid YAML');
  });
});
