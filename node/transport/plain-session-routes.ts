/** Which lease, lock or election a path names, and what can be done with it. */
import type { PlainExchange } from './plain-exchange.ts';
import { percentDecode } from './plain-query.ts';
import {
  acquireLock,
  campaign,
  describeLease,
  describeLock,
  grantLease,
  keepLeaseAlive,
  listLeases,
  listLocks,
  proclaim,
  releaseLock,
  resign,
  revokeLease,
  showElection,
} from './plain-sessions.ts';

type Methods = Readonly<Record<string, () => Promise<void>>>;

const LEASE = '/v1/leases/';
const LOCK = '/v1/locks/';
const ELECTION = '/v1/elections/';

/** Undefined: the path is another one's. */
export function sessionMethods(exchange: PlainExchange, path: string): Methods | undefined {
  if (path === '/v1/leases' || path === LEASE)
    return { ...reading(() => listLeases(exchange)), POST: () => grantLease(exchange) };
  if (path.startsWith(LEASE)) return leaseMethods(exchange, path.slice(LEASE.length));
  if (path === '/v1/locks' || path === LOCK) return reading(() => listLocks(exchange));
  if (path.startsWith(LOCK)) return lockMethods(exchange, path.slice(LOCK.length));
  if (path.startsWith(ELECTION) && path !== ELECTION)
    return electionMethods(exchange, path.slice(ELECTION.length));
  return undefined;
}

function leaseMethods(exchange: PlainExchange, raw: string): Methods {
  const lease = () => percentDecode(raw, 'lease').toString();
  return {
    ...reading(async () => describeLease(exchange, lease())),
    POST: async () => keepLeaseAlive(exchange, lease()),
    DELETE: async () => revokeLease(exchange, lease()),
  };
}

function lockMethods(exchange: PlainExchange, raw: string): Methods {
  const name = () => percentDecode(raw, 'lock').toString();
  return {
    ...reading(async () => describeLock(exchange, name())),
    POST: async () => acquireLock(exchange, name()),
    DELETE: async () => releaseLock(exchange, name()),
  };
}

function electionMethods(exchange: PlainExchange, raw: string): Methods {
  const name = () => percentDecode(raw, 'election').toString();
  return {
    GET: async () => showElection(exchange, name()),
    POST: async () => campaign(exchange, name()),
    PUT: async () => proclaim(exchange, name()),
    DELETE: async () => resign(exchange, name()),
  };
}

function reading(read: () => Promise<void>): Methods {
  return { GET: read, HEAD: read };
}
