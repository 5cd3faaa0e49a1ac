/** Which plain resource a path names, and what can be done with it. */
import { methodNotAllowed, routeUnknown } from './http-error.ts';
import type { PlainExchange } from './plain-exchange.ts';
import {
  clusterStatus,
  createKeyspace,
  describeKeyspace,
  dropKeyspace,
  listKeyspaces,
} from './plain-keyspaces.ts';
import { deleteKey, getKey, incrementKey, putKey, type KeyPath } from './plain-kv.ts';
import { showMembers } from './plain-members.ts';
import { configMethods } from './plain-config.ts';
import { idMethods } from './plain-ids.ts';
import { percentDecode } from './plain-query.ts';
import { scanKeys } from './plain-scan.ts';
import { sessionMethods } from './plain-session-routes.ts';

type Methods = Readonly<Record<string, () => Promise<void>>>;

/** For people who went astray. */
export const ROUTES =
  '/v1/kv/{keyspace}/{key}, /v1/kv/{keyspace}?prefix=, /v1/keyspaces, /v1/keyspaces/{name}, /v1/status, /v1/members, ' +
  '/v1/config/{key}, /v1/config?prefix=, /v1/leases, /v1/leases/{number}, /v1/locks, /v1/locks/{name}, /v1/elections/{name}, ' +
  '/v1/ids, /v1/ids/{id}, /v1/sequences, /v1/sequences/{name}, ' +
  '/metrics, /livez, /readyz, and POST /holdfast.kv.v1.KvService/Get (Connect) for every service method.';

/** Serves a request below `/v1/`. Errors: 404 and 405 besides those of the resource. */
export async function servePlain(exchange: PlainExchange, path: string): Promise<void> {
  const methods = find(exchange, path);
  if (methods === undefined) throw routeUnknown(path, ROUTES);
  const method = exchange.request.method ?? '';
  const serve = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (serve === undefined) throw methodNotAllowed(method, Object.keys(methods).join(', '));
  await serve();
}

function find(exchange: PlainExchange, path: string): Methods | undefined {
  if (path === '/v1/status') return reading(() => clusterStatus(exchange));
  if (path === '/v1/members') return reading(() => showMembers(exchange));
  if (path === '/v1/keyspaces' || path === '/v1/keyspaces/') return reading(() => listKeyspaces(exchange));
  if (path.startsWith('/v1/keyspaces/'))
    return keyspaceMethods(exchange, path.slice('/v1/keyspaces/'.length));
  if (!path.startsWith('/v1/kv/'))
    return configMethods(exchange, path) ?? sessionMethods(exchange, path) ?? idMethods(exchange, path);
  const rest = path.slice('/v1/kv/'.length);
  const slash = rest.indexOf('/');
  if (slash < 0) return { GET: () => scanKeys(exchange, nameOf(rest)) };
  return keyMethods(exchange, rest.slice(0, slash), rest.slice(slash + 1));
}

function reading(read: () => Promise<void>): Methods {
  return { GET: read, HEAD: read };
}

function keyspaceMethods(exchange: PlainExchange, name: string): Methods {
  return {
    ...reading(async () => describeKeyspace(exchange, nameOf(name))),
    PUT: async () => createKeyspace(exchange, nameOf(name)),
    DELETE: async () => dropKeyspace(exchange, nameOf(name)),
  };
}

function keyMethods(exchange: PlainExchange, keyspace: string, rawKey: string): Methods {
  const path = (): KeyPath => ({ keyspace: nameOf(keyspace), key: percentDecode(rawKey, 'key') });
  return {
    ...reading(async () => getKey(exchange, path())),
    PUT: async () => putKey(exchange, path()),
    POST: async () => incrementKey(exchange, path()),
    DELETE: async () => deleteKey(exchange, path()),
  };
}

function nameOf(raw: string): string {
  return percentDecode(raw, 'keyspace').toString();
}
