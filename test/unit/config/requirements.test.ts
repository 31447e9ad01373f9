import { expect, it } from 'vitest';
import type { ConfigError } from '../../../src/config/config-error.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { requireForStart } from '../../../src/config/requirements.ts';

function problemsOf(argv: string[]): readonly string[] {
  try {
    requireForStart(loadConfig({ argv, env: {} }).sources);
    return [];
  } catch (error) {
    return (error as ConfigError).problems;
  }
}

it('a start without broker and certificate says what to set, and how a development set-up is had', () => {
  expect(problemsOf([])).toEqual([
    'amqp.url is missing: set OWSLA_AMQP_URL or --amqp.url (one or several amqp:// or amqps:// URLs)',
    'tls.cert is missing: set OWSLA_TLS_CERT or --tls.cert (the path of a readable file)',
    'tls.key is missing: set OWSLA_TLS_KEY or --tls.key (the path of a readable file)',
    expect.stringContaining('"npm start"'),
  ]);
});

it('only what is missing is named', () => {
  expect(problemsOf(['--tls.cert=c', '--tls.key=k'])).toEqual([
    expect.stringMatching(/^amqp.url is missing/),
    expect.stringContaining('"npm start"'),
  ]);
});

it('a broker URL equal to the default is enough when it was given', () => {
  expect(problemsOf(['--tls.cert=c', '--tls.key=k', '--amqp.url=amqp://guest:guest@127.0.0.1:5672'])).toEqual(
    [],
  );
});
