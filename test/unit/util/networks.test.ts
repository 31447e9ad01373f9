import { describe, expect, test } from 'vitest';
import { isNetwork, Networks } from '../../../src/util/networks.ts';

describe('networks', () => {
  test.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['::/0', '2001:db9::1', true],
  ])('%s has %s: %s', (network, address, has) => {
    expect(new Networks([network]).has(address)).toBe(has);
    expect(new Networks(['198.51.100.0/24', network]).has(address)).toBe(has);
  });

  test('that are none have nobody', () => {
    expect(new Networks([]).has('127.0.0.1')).toBe(false);
    expect(new Networks([]).isEmpty).toBe(true);
  });

  test.each([
    '',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.0/8/9',
    '::/129',
    'fe80::1%eth0',
    'example.org',
    '10.0.0.0/-1',
  ])('%j is none', (text) => {
    expect(isNetwork(text)).toBe(false);
    expect(() => new Networks([text])).toThrow(TypeError);
  });
});
