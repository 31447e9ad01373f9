import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { maskSecret, maskUrl } from '../../../src/config/mask.ts';

describe('maskUrl', () => {
  it.each([
    ['amqp://user:secret@host', 'amqp://user:***@host'],
    ['amqps://user:secret@host:5671/vhost?heartbeat=5', 'amqps://user:***@host:5671/vhost?heartbeat=5'],
    ['amqp://host:5672/%2F', 'amqp://host:5672/%2F'],
    ['amqp://:secret@host', 'amqp://:***@host'],
    ['amqp://us@er:sec@ret@host', 'amqp://us%40er:***@host'],
    ['amqp://host?password=secret', 'amqp://host?***'],
    ['amqp://host#secret', 'amqp://host#***'],
    ['redis://:secret@host:6379/0', 'redis://:***@host:6379/0'],
  ])('%s → %s', (url, masked) => {
    expect(maskUrl(url)).toBe(masked);
  });

  it.each([
    ['amqp://user:12/34@host', 'amqp://***'],
    ['amqp://user:12#34@host', 'amqp://***'],
    ['amqp://user:12?34@host', 'amqp://***'],
    ['amqp://user:secret', 'amqp://***'],
    ['amqp://user%3Asecret@host', 'amqp://***'],
    ['amqp://a:secret@h1,amqp://b:secret@h2', 'amqp://***'],
    ['amqp:user:secret@host', '***'],
    ['user:secret@host', '***'],
    ['secret', '***'],
    ['', '***'],
  ])('hides what is not clearly a URL: %s → %s', (url, masked) => {
    expect(maskUrl(url)).toBe(masked);
  });

  it('masks every text in a list, and any other value whole', () => {
    expect(maskSecret(['amqp://u:p@h', 5])).toEqual(['amqp://u:***@h', '***']);
    expect(maskSecret({ url: 'amqp://u:p@h' })).toBe('***');
    expect(maskSecret(undefined)).toBeUndefined();
  });
});

/** Never occurs in what surrounds it, so that finding it in a text means that it leaked. */
const password = fc
  .string({ unit: 'grapheme', maxLength: 12 })
  .chain((text) =>
    fc.constantFrom(`ZQX${text}`, `${text}ZQX`, `1${text}ZQX`, `1/${text}ZQX`, `1?ZQX${text}`),
  );

const around = fc.record({
  scheme: fc.constantFrom(
    'amqp://',
    'amqps://',
    'AMQP://',
    'amqp:/',
    'amqp:',
    'http://',
    '//',
    '',
    ' amqp://',
    'x',
  ),
  user: fc.constantFrom('', 'user', 'us/er', 'us er', 'us%zzer', 'us@er', 'üser'),
  separator: fc.constantFrom(':', '%3A', '::'),
  end: fc.constantFrom(
    '@host',
    '@host:5672/vhost',
    '@host/%2F?heartbeat=5',
    '@[::1]',
    '@',
    '@host,amqp://b:c@host',
  ),
});

describe('a password', () => {
  it('never appears in a masked URL, well-formed or not', () => {
    fc.assert(
      fc.property(around, password, fc.boolean(), ({ scheme, user, separator, end }, secret, encoded) => {
        const written = encoded ? encodeURIComponent(secret) : secret;
        expect(maskUrl(`${scheme}${user}${separator}${written}${end}`)).not.toContain('ZQX');
      }),
      { numRuns: 5000 },
    );
  });

  it('never appears in an error, wherever the URL was given', () => {
    const places = fc.constantFrom(
      (url: string) => ({ argv: [`--amqp.url=${url}`, '--workers=x'], env: {} }),
      (url: string) => ({ argv: ['--amqp.url', url, '--workers=x'], env: {} }),
      (url: string) => ({ argv: [`--amqp.ulr=${url}`], env: {} }),
      (url: string) => ({ argv: [`--${url}`], env: {} }),
      (url: string) => ({ argv: [`--amqp.url:${url}`], env: {} }),
      (url: string) => ({ argv: [], env: { OWSLA_AMQP_URL: url, OWSLA_WORKERS: 'x' } }),
      (url: string) => ({ argv: [], env: { OWSLA_AMQP_URI: url } }),
      ...[
        'amqp:\n  url: ',
        'amqp:\n  url:',
        'amqp: ',
        'amqp:\n  url: [',
        'amqp:\n  url:\n    ',
        'amqp:\n  uri: ',
        'amqp:\n  url: "\\U',
        'url: *',
        '!',
        '!<',
        '!!',
        '%',
        '%YAML ',
      ].map((start) => (url: string) => ({
        argv: ['--config=f', '--workers=x'],
        env: {},
        readFile: () => start + url,
      })),
      ...[
        ['amqp:\n  url: {{ ', ' }}'],
        ['? {url: "', '"}'],
        ['["', '"]: 1'],
      ].map(([start, end]) => (url: string) => ({
        argv: ['--config=f'],
        env: {},
        readFile: () => start + url + end,
      })),
    );
    const warned = vi.spyOn(process, 'emitWarning').mockReturnValue();
    fc.assert(
      fc.property(places, around, password, (place, { scheme, user, separator, end }, secret) => {
        try {
          loadConfig(place(`${scheme}${user}${separator}${secret}${end}`));
        } catch (error) {
          expect((error as Error).message).not.toContain('ZQX');
        }
      }),
      { numRuns: 5000 },
    );
    expect(warned.mock.calls.filter((call) => JSON.stringify(call).includes('ZQX'))).toEqual([]);
    warned.mockRestore();
  });
});
