/**
 * Leases, locks and elections as HTTP resources: `/v1/leases/{number}`, `/v1/locks/{name}`,
 * `/v1/elections/{name}`. For a look, and for scripts; numbers of 64 bits are strings.
 */
import { create } from '@bufbuild/protobuf';
import {
  CampaignRequestSchema,
  CampaignResponseSchema,
  DescribeRequestSchema as DescribeElectionSchema,
  ElectionService,
  ObserveRequestSchema,
  ProclaimRequestSchema,
  ProclaimResponseSchema,
  ResignRequestSchema,
  type Leader,
} from '@holdfast/proto/election/v1/election';
import {
  DescribeRequestSchema as DescribeLeaseSchema,
  DescribeResponseSchema as LeaseDescriptionSchema,
  GrantRequestSchema,
  GrantResponseSchema,
  KeepAliveRequestSchema,
  LeaseService,
  ListRequestSchema as ListLeasesSchema,
  ListResponseSchema as LeaseListSchema,
  RevokeRequestSchema,
  RevokeResponseSchema,
} from '@holdfast/proto/lease/v1/lease';
import {
  AcquireRequestSchema,
  AcquireResponseSchema,
  DescribeRequestSchema as DescribeLockSchema,
  DescribeResponseSchema as LockDescriptionSchema,
  ListRequestSchema as ListLocksSchema,
  ListResponseSchema as LockListSchema,
  LockMode,
  LockService,
  ReleaseRequestSchema,
  ReleaseResponseSchema,
} from '@holdfast/proto/lock/v1/lock';
import { HoldfastError } from '@holdfast/client/error';
import { malformed } from './http-error.ts';
import { bytesJson } from './plain-entry.ts';
import type { PlainExchange } from './plain-exchange.ts';
import { messageJson } from './plain-keyspaces.ts';
import type { Query } from './plain-query.ts';

const LEASES = LeaseService.method;
const LOCKS = LockService.method;
const ELECTIONS = ElectionService.method;
/** Of whoever does not choose one: a second call of the same session is the same request. */
const REQUEST_ID = 'http';
const MODES: Readonly<Record<string, LockMode>> = {
  exclusive: LockMode.EXCLUSIVE,
  shared: LockMode.SHARED,
  semaphore: LockMode.SEMAPHORE,
};

export async function listLeases(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('after', 'limit');
  const request = create(ListLeasesSchema, {
    after: number(query, 'after') ?? 0n,
    limit: query.count('limit') ?? 0,
  });
  exchange.json(200, messageJson(LeaseListSchema, await exchange.unary(LEASES.list, request)));
}

/** POST with `?ttl`, `?name` and `?lease`. */
export async function grantLease(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('ttl', 'name', 'lease');
  const ttlMs = query.duration('ttl');
  const request = create(GrantRequestSchema, {
    lease: number(query, 'lease') ?? 0n,
    name: query.text('name') ?? '',
    ...(ttlMs !== undefined && { ttlMs: BigInt(ttlMs) }),
  });
  exchange.json(201, messageJson(GrantResponseSchema, await exchange.unary(LEASES.grant, request)));
}

export async function describeLease(exchange: PlainExchange, lease: string): Promise<void> {
  exchange.query();
  const request = create(DescribeLeaseSchema, { lease: leaseOf(lease), withKeys: true });
  const described = await exchange.unary(LEASES.describe, request);
  const keys = described.keys.map((key) => bytesJson('key', key));
  exchange.json(200, { ...messageJson(LeaseDescriptionSchema, described), keys });
}

/** POST: its whole time anew. */
export async function keepLeaseAlive(exchange: PlainExchange, text: string): Promise<void> {
  exchange.query();
  const lease = leaseOf(text);
  const request = create(KeepAliveRequestSchema, { leases: [lease] });
  const kept = (await exchange.unary(LEASES.keepAlive, request)).leases[0];
  if (kept === undefined || kept.ttlMs === 0n) throw unknownLease(lease);
  exchange.json(200, { lease: String(lease), ttl_ms: String(kept.ttlMs) });
}

export async function revokeLease(exchange: PlainExchange, lease: string): Promise<void> {
  exchange.query();
  const request = create(RevokeRequestSchema, { lease: leaseOf(lease) });
  exchange.json(200, messageJson(RevokeResponseSchema, await exchange.unary(LEASES.revoke, request)));
}

export async function listLocks(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('prefix', 'after', 'limit');
  const request = create(ListLocksSchema, {
    prefix: query.text('prefix') ?? '',
    after: query.text('after') ?? '',
    limit: query.count('limit') ?? 0,
  });
  exchange.json(200, messageJson(LockListSchema, await exchange.unary(LOCKS.list, request)));
}

export async function describeLock(exchange: PlainExchange, lock: string): Promise<void> {
  exchange.query();
  const described = await exchange.unary(LOCKS.describe, create(DescribeLockSchema, { lock }));
  exchange.json(200, messageJson(LockDescriptionSchema, described));
}

/** POST with `?session`, `?wait`, `?mode`, `?permits` and `?request_id`. */
export async function acquireLock(exchange: PlainExchange, lock: string): Promise<void> {
  const query = exchange.query('session', 'wait', 'mode', 'permits', 'request_id');
  const waitMs = query.duration('wait');
  const request = create(AcquireRequestSchema, {
    lock,
    session: required(query, 'session'),
    requestId: requestId(query),
    mode: mode(query),
    permits: query.count('permits') ?? 0,
    ...(waitMs !== undefined && { waitMs: BigInt(waitMs) }),
  });
  exchange.json(200, messageJson(AcquireResponseSchema, await exchange.unary(LOCKS.acquire, request)));
}

/** DELETE with `?session`, `?token` and `?request_id`. */
export async function releaseLock(exchange: PlainExchange, lock: string): Promise<void> {
  const query = exchange.query('session', 'token', 'request_id');
  const request = create(ReleaseRequestSchema, {
    lock,
    session: required(query, 'session'),
    requestId: requestId(query),
    token: number(query, 'token') ?? 0n,
  });
  exchange.json(200, messageJson(ReleaseResponseSchema, await exchange.unary(LOCKS.release, request)));
}

/** GET; with `?observe=true` JSON lines that go on. */
export async function showElection(exchange: PlainExchange, election: string): Promise<void> {
  const query = exchange.query('observe');
  if (query.flag('observe')) return observeElection(exchange, election);
  const described = await exchange.unary(ELECTIONS.describe, create(DescribeElectionSchema, { election }));
  const { leader, candidates, revision } = described;
  exchange.json(200, {
    ...(leader && { leader: leaderJson(leader) }),
    candidates: candidates.map(String),
    revision: String(revision),
  });
}

/** POST with `?session` and `?wait`; the body is what the candidate says. */
export async function campaign(exchange: PlainExchange, election: string): Promise<void> {
  const query = exchange.query('session', 'wait');
  const waitMs = query.duration('wait');
  const request = create(CampaignRequestSchema, {
    election,
    session: required(query, 'session'),
    value: (await exchange.body()) as Uint8Array<ArrayBuffer>,
    ...(waitMs !== undefined && { waitMs: BigInt(waitMs) }),
  });
  exchange.json(200, messageJson(CampaignResponseSchema, await exchange.unary(ELECTIONS.campaign, request)));
}

/** PUT with `?session` and `?token`; the body is what the leader says from now on. */
export async function proclaim(exchange: PlainExchange, election: string): Promise<void> {
  const query = exchange.query('session', 'token');
  const request = create(ProclaimRequestSchema, {
    election,
    session: required(query, 'session'),
    token: required(query, 'token'),
    value: (await exchange.body()) as Uint8Array<ArrayBuffer>,
  });
  exchange.json(200, messageJson(ProclaimResponseSchema, await exchange.unary(ELECTIONS.proclaim, request)));
}

/** DELETE with `?session` and `?token`. */
export async function resign(exchange: PlainExchange, election: string): Promise<void> {
  const query = exchange.query('session', 'token');
  const request = create(ResignRequestSchema, {
    election,
    session: required(query, 'session'),
    token: number(query, 'token') ?? 0n,
  });
  await exchange.unary(ELECTIONS.resign, request);
  exchange.json(200, { election, resigned: true });
}

async function observeElection(exchange: PlainExchange, election: string): Promise<void> {
  const request = create(ObserveRequestSchema, { election });
  for await (const { leader, revision } of exchange.stream(ELECTIONS.observe, request)) {
    if (!exchange.response.headersSent)
      exchange.response.writeHead(200, {
        'Content-Type': 'application/jsonl',
        'X-Content-Type-Options': 'nosniff',
      });
    const line = { ...(leader && { leader: leaderJson(leader) }), revision: String(revision) };
    await exchange.write(Buffer.from(`${JSON.stringify(line)}\n`));
  }
  exchange.response.end();
}

function leaderJson({ session, name, token, value, revision }: Leader): Record<string, string> {
  return {
    session: String(session),
    name,
    token: String(token),
    ...bytesJson('value', value),
    revision: String(revision),
  };
}

function leaseOf(text: string): bigint {
  return wholeNumber(text, 'lease');
}

function number(query: Query, name: string): bigint | undefined {
  const text = query.text(name);
  return text === undefined ? undefined : wholeNumber(text, name);
}

function required(query: Query, name: string): bigint {
  const value = number(query, name);
  if (value !== undefined) return value;
  throw malformed(name, `${name} is missing: give it with ?${name}=.`);
}

function wholeNumber(text: string, field: string): bigint {
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  const shown = text.slice(0, 80);
  throw malformed(field, `${field} is ${JSON.stringify(shown)}, it must be a whole number.`, shown);
}

function requestId(query: Query): Uint8Array<ArrayBuffer> {
  return (query.bytes('request_id') ?? Buffer.from(REQUEST_ID)) as Uint8Array<ArrayBuffer>;
}

function mode(query: Query): LockMode {
  const text = query.text('mode') ?? 'exclusive';
  if (Object.hasOwn(MODES, text)) return MODES[text]!;
  const allowed = Object.keys(MODES).join(', ');
  const shown = text.slice(0, 80);
  throw malformed('mode', `mode is ${JSON.stringify(shown)}, allowed are ${allowed}.`, shown, allowed);
}

function unknownLease(lease: bigint): HoldfastError {
  const message = `there is no lease ${lease} (any more). Nothing was changed.`;
  return new HoldfastError({ reason: 'LEASE_UNKNOWN', message, field: 'lease', actual: String(lease) });
}
