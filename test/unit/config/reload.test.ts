import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { changedKeys, keepFixedKeys } from '../../../src/config/reload.ts';

const load = (yaml: string) =>
  loadConfig({ argv: ['--config', 'owsla.yaml'], env: {}, readFile: () => yaml }).config;

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
