const TITLES: Readonly<Record<string, string>> = {
  '': 'General',
  listen: 'Device listener',
  admission: 'Admission of new connections',
  address: 'Limits per address',
  proxy: 'PROXY protocol',
  tls: 'TLS towards devices',
  endpoint: 'Device connections',
  reply: 'Replies to devices',
  ack: 'Acknowledgement to devices',
  amqp: 'Broker',
  shutdown: 'Shutdown',
  restart: 'Restart of crashed workers',
  admin: 'Admin server',
  readiness: 'Readiness',
  log: 'Log',
};

/** A heading for a section of the configuration: `Broker (amqp)`. */
export function sectionTitle(section: string): string {
  const title = TITLES[section] ?? section;
  return section === '' || title === section ? title : `${title} (${section})`;
}
