import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CONFIG_KEYS, envNameOf, KEY_BY_PATH, listKeys } from '../../../src/config/keys.ts';
import { configSchema, defaultConfig } from '../../../src/config/schema.ts';
import { sectionTitle } from '../../../src/config/section-titles.ts';

const meta = { description: 'A thing.', expects: 'a thing' };

describe('the keys of the schema', () => {
  it.each([
    ['workers', 'OWSLA_WORKERS'],
    ['listen.port', 'OWSLA_LISTEN_PORT'],
    ['listen.maxFrameBytes', 'OWSLA_LISTEN_MAX_FRAME_BYTES'],
    ['tls.cert', 'OWSLA_TLS_CERT'],
    ['tls.clientCa', 'OWSLA_TLS_CLIENT_CA'],
    ['amqp.url', 'OWSLA_AMQP_URL'],
    ['amqp.queueType', 'OWSLA_AMQP_QUEUE_TYPE'],
    ['amqp.fromDevice', 'OWSLA_AMQP_FROM_DEVICE'],
    ['admin.port', 'OWSLA_ADMIN_PORT'],
    ['log.level', 'OWSLA_LOG_LEVEL'],
  ])('%s is %s in the environment and --%s as a flag', (path, env) => {
    expect(envNameOf(path)).toBe(env);
    expect(KEY_BY_PATH.get(path)).toMatchObject({ path, env, flag: `--${path}` });
  });

  it('are the leaves of the default configuration, each with its default', () => {
    const leaves = (value: unknown, path: string): [string, unknown][] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).flatMap(([name, inner]) => leaves(inner, path ? `${path}.${name}` : name))
        : [[path, value]];
    const withDefault = CONFIG_KEYS.filter((key) => key.default !== undefined);
    expect(Object.fromEntries(withDefault.map((key) => [key.path, key.default]))).toEqual(
      Object.fromEntries(leaves(defaultConfig(), '')),
    );
  });

  it('have defaults that satisfy their own checks', () => {
    for (const key of CONFIG_KEYS)
      expect(key.schema.safeParse(key.default), key.path).toMatchObject({ success: true });
  });

  it('have one description, one expectation and one environment name each', () => {
    for (const key of CONFIG_KEYS) {
      expect(key.description, key.path).toMatch(/\.$/);
      expect(key.expects, key.path).toMatch(/[^.]$/);
    }
    expect(new Set(CONFIG_KEYS.map((key) => key.env)).size).toBe(CONFIG_KEYS.length);
  });

  it('mark the broker URL as a secret', () => {
    expect(CONFIG_KEYS.filter((key) => key.secret).map((key) => key.path)).toContain('amqp.url');
  });

  it('all stand in a section with a title', () => {
    for (const { section } of CONFIG_KEYS) expect(sectionTitle(section), section).not.toBe(section);
  });

  it('are listed anew from a schema', () => {
    expect(listKeys(configSchema).map((key) => key.path)).toEqual(CONFIG_KEYS.map((key) => key.path));
  });
});

describe('a schema with a mistake', () => {
  it('is refused when a leaf has no metadata', () => {
    const schema = z.strictObject({ a: z.strictObject({ b: z.string() }).prefault({ b: '' }) });
    expect(() => listKeys(schema)).toThrow('key a.b has no description');
  });

  it('is refused when two keys share an environment name', () => {
    const leaf = z.string().meta(meta);
    const schema = z.strictObject({ aB: leaf, a: z.strictObject({ b: leaf }) });
    expect(() => listKeys(schema)).toThrow('keys aB and a.b share the environment name OWSLA_A_B');
  });
});
