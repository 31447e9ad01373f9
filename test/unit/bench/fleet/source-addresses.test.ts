import { describe, expect, test } from 'vitest';
import { sourceAddresses } from '../../../../bench/fleet/source-addresses.ts';

describe('sourceAddresses', () => {
  test('auto: 64 loopback addresses towards a loopback address, the kernel picks towards others', () => {
    const auto = sourceAddresses(['auto'], '127.0.0.1')!;
    expect(auto).toHaveLength(64);
    expect(new Set(auto).size).toBe(64);
    expect([auto[0], auto.at(-1)]).toEqual(['127.0.1.1', '127.0.1.64']);
    expect(sourceAddresses(['auto'], '192.0.2.1')).toEqual([]);
  });

  test('single addresses and ranges, over the end of a byte', () => {
    expect(sourceAddresses(['127.0.0.9', '127.0.0.254-127.0.1.1'], 'x')).toEqual([
      '127.0.0.9',
      '127.0.0.254',
      '127.0.0.255',
      '127.0.1.0',
      '127.0.1.1',
    ]);
  });

  test.each(['here', '127.0.0.300', '127.0.0.9-127.0.0.1', '127.0.0.1-', '10.0.0.0-12.0.0.0'])(
    '%s means nothing',
    (text) => {
      expect(sourceAddresses([text], '127.0.0.1')).toBeUndefined();
    },
  );
});
