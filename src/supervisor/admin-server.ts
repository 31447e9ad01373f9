import Fastify, { type FastifyInstance } from 'fastify';

/** What the admin server shows. */
export interface AdminSource {
  readiness(): {
    ready: boolean;
    workers: { worker: number; pid: number | null; ready: boolean; reason: string }[];
  };
  /** Prometheus text format, summed over the workers. */
  metrics(): Promise<{ contentType: string; body: string }>;
}

/**
 * The operator's port: `/livez` (this process runs), `/readyz` (every worker accepts connections and its broker
 * round trip works), `/metrics`.
 */
export function createAdminServer(source: AdminSource): FastifyInstance {
  const server = Fastify({ logger: false, forceCloseConnections: true });
  server.get('/livez', async () => ({ live: true }));
  server.get('/readyz', async (_request, reply) => {
    const readiness = source.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  server.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await source.metrics();
    return reply.type(contentType).send(body);
  });
  return server;
}
