import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Ledger, type LedgerMessage, SessionAudit } from '../../../src/dev/ledger.ts';

const line = (session: string, n: number, headers: Record<string, unknown> = {}): LedgerMessage => ({
  content: Buffer.from(`${session} ${n}`),
  properties: { headers: { connection_id: `id of ${session}`, from_device_seq: n, ...headers } },
});

/** A device that has sent so many lines. */
function device(session: string, sent: number): SessionAudit {
  const audit = new SessionAudit(session);
  for (let n = 0; n < sent; n++) audit.nextLine();
  return audit;
}

/** An account of one session: what a backend took, against what was sent. */
function account(sent: number, ...taken: LedgerMessage[]) {
  const ledger = new Ledger();
  for (const message of taken) ledger.lineTaken(message);
  return ledger.report([device('d', sent)]);
}

describe('lines', () => {
  test('are filled up to a length, and keep their number', () => {
    const audit = new SessionAudit('d');
    expect(audit.nextLine(12)).toBe('d 0 ........');
    expect(audit.nextLine(2)).toBe('d 1');
    expect(audit.reply('d 0 ........')).toBe(0);
  });

  test('that all came, in order and once, are no violation', () => {
    expect(account(2, line('d', 0), line('d', 1))).toMatchObject({
      lines: { sent: 2, taken: 2, lost: 0, marked: 0, redelivered: 0, unmarked: 0, misordered: 0, unread: 0 },
      violations: [],
    });
  });

  test('that never came are lost', () => {
    const report = account(3, line('d', 0), line('d', 2));
    expect(report.lines.lost).toBe(1);
    expect(report.violations).toEqual(['d: line 1 of 3 never came']);
  });

  test('that came behind a later one are misordered', () => {
    const report = account(2, line('d', 1), line('d', 0));
    expect(report.lines).toMatchObject({ lost: 0, misordered: 1 });
    expect(report.violations).toEqual(['d: line 0 came behind line 1']);
  });

  test('that the broker delivered again have no place in the order', () => {
    const again = { ...line('d', 0), fields: { redelivered: true } };
    expect(account(2, line('d', 1), again)).toMatchObject({ lines: { misordered: 0 }, violations: [] });
  });

  test.each([
    ['neither of them is marked', {}, {}, 1],
    ['the second says that it is republished', {}, { republished: true }, 0],
    ['the first said so', { republished: true }, {}, 0],
  ])('that came twice, where %s', (_, first, second, unmarked) => {
    const report = account(1, line('d', 0, first), line('d', 0, second));
    expect(report.lines).toMatchObject({ unmarked, marked: 1 - unmarked });
    expect(report.lines.firstMarked).toBe(unmarked ? undefined : 'd: line 0 came twice, marked');
    expect(report.violations).toHaveLength(unmarked);
  });

  test('that came twice because the backend lost its connection are not held against the gateway', () => {
    const ledger = new Ledger();
    ledger.lineTaken(line('d', 0));
    ledger.backendReconnected();
    expect(ledger.lineTaken(line('d', 0)).isFirst).toBe(false);
    ledger.lineTaken(line('d', 1));
    ledger.lineTaken(line('d', 1));
    expect(ledger.report([device('d', 2)]).lines).toMatchObject({ marked: 0, redelivered: 1, unmarked: 1 });
  });

  test('of a dropped session may end early, but have no hole', () => {
    const ledger = new Ledger();
    for (const n of [0, 2]) ledger.lineTaken(line('d', n));
    const dropped = device('d', 5);
    dropped.dropped = true;
    expect(ledger.report([dropped]).lines).toMatchObject({ lost: 1, unread: 2 });
  });

  test.each([
    ['have another number', [line('d', 0, { from_device_seq: 1 })], 1, /came as from_device_seq 1/],
    [
      'come from two connections',
      [line('d', 0), line('d', 1, { connection_id: 'x' })],
      2,
      /comes from x too/,
    ],
    ['were never sent', [line('d', 0)], 0, /0 were sent/],
    ['are nobody’s', [line('other', 0)], 0, /session other is nobody's/],
  ])('that %s are violations', (_, taken, sent, text) => {
    expect(account(sent, ...taken).violations[0]).toMatch(text);
  });
});

describe('replies', () => {
  test('are not what a gateway that was killed has probed its broker with', () => {
    const ledger = new Ledger();
    ledger.undelivered({ content: Buffer.alloc(0), properties: { type: 'owsla.probe', headers: {} } });
    expect(ledger.report([]).violations).toEqual([]);
    ledger.undelivered({ content: Buffer.alloc(0), properties: { headers: {} } });
    expect(ledger.report([]).violations).toHaveLength(1);
  });

  test('of a crowd show the first example of each fault, however many of another come first', () => {
    const audits = Array.from({ length: 20 }, (_, n) => device(`d${n}`, 2));
    for (const audit of audits) for (const n of [0, 0, 0, 0, 0]) audit.reply(`${audit.session} ${n}`);
    const last = audits.at(-1)!;
    for (const body of ['d19 2', 'd19 1', 'e 0']) last.reply(body);
    const { violations } = new Ledger().report(audits);
    expect(violations.filter((text) => text.includes('came twice'))).toHaveLength(3);
    expect(violations).toContain('d19: reply 1 came behind reply 2');
    expect(violations).toContain('d19: got what is not its own: e 0');
  });

  function replies(published: number[], received: number[], undelivered: number[], dropped = false) {
    const ledger = new Ledger();
    const audit = device('d', 10);
    for (let n = 0; n < 10; n++) ledger.lineTaken(line('d', n));
    for (const n of published) ledger.replyPublished('d', n);
    for (const n of undelivered) ledger.undelivered(line('d', n, { reason: 'expired' }));
    for (const n of received) audit.reply(`d ${n}`);
    audit.dropped = dropped;
    return ledger.report([JSON.parse(JSON.stringify(audit))]);
  }

  test('each came or is undelivered: all is well', () => {
    const report = replies([0, 1, 2], [0, 2], [1]);
    expect(report.replies).toMatchObject({ published: 3, received: 2, undelivered: { expired: 1 }, lost: 0 });
    expect(report.violations).toEqual([]);
  });

  test('without a fate are lost, at the end as well as in between', () => {
    const report = replies([0, 1, 2, 3], [0, 2], []);
    expect(report.replies.lost).toBe(2);
    expect(report.violations).toEqual([
      'd: reply 1 neither came nor is it undelivered',
      'd: reply 3 neither came nor is it undelivered',
    ]);
  });

  test('without a fate on a dropped session are unknown', () => {
    expect(replies([0, 1], [0], [], true)).toMatchObject({
      replies: { unknown: 1, lost: 0 },
      violations: [],
    });
  });

  test('that came although they are undelivered have a fate too many, unless the device was dropped', () => {
    expect(replies([0, 1], [0, 1], [1]).violations).toEqual(['d: reply 1 came, and is undelivered too']);
    expect(replies([0, 1], [0, 1], [1], true).violations).toEqual([]);
  });

  test('that a backend never sent are not missed', () => {
    expect(replies([0, 2], [0, 2], []).violations).toEqual([]);
  });

  test.each([
    ['twice', [0, 0], { unmarked: 1, received: 1 }],
    ['behind a later one', [1, 0], { misordered: 1, received: 2 }],
    ['for somebody else', [0], { received: 1 }],
  ])('that come %s are violations', (what, received, expected) => {
    const ledger = new Ledger();
    const audit = device('d', 2);
    for (const n of received) audit.reply(`d ${n}`);
    if (what === 'for somebody else') audit.reply('e 0');
    const report = ledger.report([audit]);
    expect(report.replies).toMatchObject(expected);
    expect(report.violations.filter((text) => !text.includes('never came'))).toHaveLength(1);
  });
});

test('whatever order lines come in, what is missing and what is late is counted', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([...Array(30).keys()]), (order) => {
      const { lines } = account(30, ...order.map((n) => line('d', n)));
      expect(lines.lost).toBe(30 - order.length);
      let highest = -1;
      let late = 0;
      for (const n of order) {
        if (n < highest) late++;
        highest = Math.max(highest, n);
      }
      expect(lines.misordered).toBe(late);
    }),
  );
});
