import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../../../src/config/keys.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { REFERENCE_FILE, renderReference } from '../../../src/config/reference.ts';

describe('docs/configuration.md', () => {
  it('matches the schema; otherwise run "npm run docs:config"', () => {
    expect(readFileSync(REFERENCE_FILE, 'utf8')).toBe(renderReference());
  });

  it('has one row of five cells for each key', () => {
    const rows = renderReference()
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    expect(rows.map((row) => row.match(/^\| `([^`]+)`/)![1])).toEqual(CONFIG_KEYS.map((key) => key.path));
    for (const row of rows) expect(row.split(/(?<!\\)\|/), row).toHaveLength(7);
  });

  it('writes defaults for people and marks what a start needs', () => {
    const row = (path: string) => renderReference().match(new RegExp(`^\\| \`${path}\` .*$`, 'm'))![0];
    expect(row('listen.maxFrameBytes')).toContain('| 64 KiB |');
    expect(row('tls.handshakeTimeoutMs')).toContain('| 10 s |');
    expect(row('amqp.queueType')).toContain('| `quorum` |');
    expect(row('tls.clientCa')).toContain('| none |');
    expect(row('tls.cert')).toContain('| *required* |');
    expect(row('amqp.url')).toContain('| *required* |');
  });

  it('shows an example that loads', () => {
    const yaml = renderReference().match(/```yaml\n([\s\S]+?)```/)![1]!;
    const { config } = loadConfig({ argv: ['--config=owsla.yaml'], env: {}, readFile: () => yaml });
    expect(config).toMatchObject({ workers: 4, listen: { maxFrameBytes: 16_384 } });
    expect(config.amqp.url).toHaveLength(2);
  });

  it('escapes what would end a cell', () => {
    const key = { ...CONFIG_KEYS[0]!, description: 'a | b' };
    expect(renderReference([key])).toContain('a \\| b');
  });
});
