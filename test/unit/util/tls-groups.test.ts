import { expect, test } from 'vitest';
import { areTlsGroups, tlsGroups } from '../../../src/util/tls-groups.ts';

test('auto is what this Node has of the cheap groups', () => {
  const hybrid = areTlsGroups('X25519MLKEM768') ? 'X25519MLKEM768:' : '';
  expect(tlsGroups('auto')).toBe(`${hybrid}X25519:P-256`);
  expect(tlsGroups('P-384')).toBe('P-384');
});

test('groups are those that OpenSSL knows', () => {
  for (const groups of ['auto', 'X25519', 'P-256:P-384', 'prime256v1'])
    expect(areTlsGroups(groups)).toBe(true);
  for (const groups of ['', 'P-255', 'X25519,P-256', 'X25519:nonsense'])
    expect(areTlsGroups(groups)).toBe(false);
});
