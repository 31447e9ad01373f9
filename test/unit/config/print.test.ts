import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../../../src/config/keys.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { printConfig, printConfigJson } from '../../../src/config/print.ts';

const loaded = loadConfig({
  argv: ['--listen.port=1', '--config=owsla.yaml'],
  env: { OWSLA_AMQP_URL: 'amqp://u:secret@h1,amqp://u:secret@h2' },
  readFile: () => 'reply:\n  gapTimeoutMs: 25000',
});

describe('the printed configuration', () => {
  it('has one line for each key with value and source, secrets masked', () => {
    const lines = printConfig(loaded).split('\n');
    const row = (path: string) => lines.find((line) => line.startsWith(`${path} `))?.split(/\s{2,}/);
    expect(lines[0]).toBe('configuration file: owsla.yaml');
    expect(lines).toHaveLength(CONFIG_KEYS.length + 2);
    expect(row('listen.port')).toEqual(['listen.port', '1', 'flag']);
    expect(row('reply.gapTimeoutMs')).toEqual(['reply.gapTimeoutMs', '25 s', 'file']);
    expect(row('amqp.url')).toEqual(['amqp.url', 'amqp://u:***@h1,amqp://u:***@h2', 'env']);
    expect(row('tls.cert')).toEqual(['tls.cert', '(none)', 'default']);
  });

  it('is the same as JSON with plain numbers', () => {
    const { file, keys } = JSON.parse(printConfigJson(loaded));
    expect(file).toBe('owsla.yaml');
    expect(Object.keys(keys)).toEqual(CONFIG_KEYS.map((key) => key.path));
    expect(keys['reply.gapTimeoutMs']).toEqual({
      value: 25_000,
      source: 'file',
      env: 'OWSLA_REPLY_GAP_TIMEOUT_MS',
    });
    expect(keys['amqp.url'].value).toEqual(['amqp://u:***@h1', 'amqp://u:***@h2']);
    expect(keys['tls.cert'].value).toBeNull();
  });
});
