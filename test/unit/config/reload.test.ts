import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { keepFixedKeys } from '../../../src/config/reload.ts';

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
