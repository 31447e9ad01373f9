import { randomBytes } from 'node:crypto';

/** Queue and exchange names of one test, so that tests share a broker and nothing else. */
export interface Names {
  readonly fromDevice: string;
  readonly toDevice: string;
  readonly undelivered: string;
  readonly deadLetter: string;
  readonly events: string;
  readonly inboxPrefix: string;
}

export function uniqueNames(): Names {
  const own = `test-${randomBytes(4).toString('hex')}`;
  return {
    fromDevice: `${own}.from_device`,
    toDevice: `${own}.to_device`,
    undelivered: `${own}.undelivered`,
    deadLetter: `${own}.dead_letter`,
    events: `${own}.events`,
    inboxPrefix: `${own}.inbox.`,
  };
}

/** The environment that makes a gateway use these names. */
export function namesEnvironment(names: Names): Record<string, string> {
  return {
    OWSLA_AMQP_FROM_DEVICE: names.fromDevice,
    OWSLA_AMQP_TO_DEVICE: names.toDevice,
    OWSLA_AMQP_UNDELIVERED: names.undelivered,
    OWSLA_AMQP_DEAD_LETTER: names.deadLetter,
    OWSLA_AMQP_EVENTS: names.events,
    OWSLA_AMQP_INBOX_PREFIX: names.inboxPrefix,
  };
}
