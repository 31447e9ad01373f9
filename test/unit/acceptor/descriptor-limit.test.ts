import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { connectionsWithinDescriptorLimit } from '../../../src/acceptor/descriptor-limit.ts';

const limits = (soft: string) => `Limit                     Soft Limit           Hard Limit           Units
Max processes             95000                95000                processes
Max open files            ${soft.padEnd(20)} 1048576              files
`;

describe('connectionsWithinDescriptorLimit', () => {
  it('keeps some descriptors back from the soft limit', () => {
    expect(connectionsWithinDescriptorLimit(() => limits('1024'))).toBe(928);
  });

  it('allows at least one connection', () => {
    expect(connectionsWithinDescriptorLimit(() => limits('50'))).toBe(1);
  });

  it('sets no bound where there is none, or no /proc', () => {
    expect(connectionsWithinDescriptorLimit(() => limits('unlimited'))).toBe(Number.POSITIVE_INFINITY);
    expect(connectionsWithinDescriptorLimit(() => readFileSync('/nowhere', 'utf8'))).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  it.each(['EMFILE', 'ENFILE'])('does not know while no descriptor is left to read it with: %s', (code) => {
    const unreadable = () => {
      throw Object.assign(new Error(code), { code });
    };
    expect(connectionsWithinDescriptorLimit(unreadable)).toBeUndefined();
  });
});
