/**
 * Keys as HTTP resources: `/v1/kv/{keyspace}/{key}`. The key is everything after the
 * keyspace, percent-decoded; the version is the entity tag, so that the conditional
 * headers of HTTP are compare-and-set and create-only.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import { create } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { StatusCode } from '@holdfast/client/reasons';
import {
  CompareAndSetRequestSchema,
  CreateRequestSchema,
  DeleteRequestSchema,
  GetRequestSchema,
  IncrementRequestSchema,
  KvService,
  PutRequestSchema,
  type Entry,
} from '@holdfast/proto/kv/v1/kv';
import { malformed } from './http-error.ts';
import { etag, ifMatch, ifNoneMatchAny, isKnown, refuseHeader } from './plain-conditions.ts';
import { keyJson, rfc3339 } from './plain-entry.ts';
import type { PlainExchange } from './plain-exchange.ts';
import type { Query } from './plain-query.ts';

/** A key by its keyspace. */
export interface KeyPath {
  readonly keyspace: string;
  readonly key: Buffer;
}

/** GET and HEAD. */
export async function getKey(exchange: PlainExchange, { keyspace, key }: KeyPath): Promise<void> {
  exchange.query();
  refuseHeader(exchange, 'if-match', 'reads take If-None-Match only.');
  const { entry } = await exchange.unary(KvService.method.get, create(GetRequestSchema, { keyspace, key }));
  if (entry === undefined) throw keyNotFound(keyspace);
  const headers = entryHeaders(entry);
  if (isKnown(exchange, entry.version)) return exchange.send(304, NO_BYTES, headers);
  exchange.send(200, entry.value, {
    ...headers,
    'Content-Type': 'application/octet-stream',
    'X-Content-Type-Options': 'nosniff',
  });
}

/** PUT: last write wins; with `If-None-Match: *` create-only, with `If-Match` compare-and-set. */
export async function putKey(exchange: PlainExchange, path: KeyPath): Promise<void> {
  const ttlMs = timeToLive(exchange.query('ttl'));
  const expectedVersion = ifMatch(exchange);
  const createOnly = ifNoneMatchAny(exchange);
  if (createOnly && expectedVersion !== undefined)
    throw malformed('If-Match', 'If-Match and If-None-Match exclude each other.');
  const fields = { ...path, value: await exchange.body(), ...(ttlMs === undefined ? {} : { ttlMs }) };
  const { version } = await write(exchange, fields, createOnly, expectedVersion);
  exchange.json(
    createOnly ? 201 : 200,
    { ...keyJson(path.key), version: version.toString() },
    { ETag: etag(version) },
  );
}

interface WrittenFields extends KeyPath {
  readonly value: Buffer;
  readonly ttlMs?: bigint;
}

function write(
  exchange: PlainExchange,
  fields: WrittenFields,
  createOnly: boolean,
  expected: bigint | undefined,
): Promise<{ version: bigint }> {
  const { put, create: createKey, compareAndSet } = KvService.method;
  if (createOnly) return exchange.unary(createKey, create(CreateRequestSchema, fields));
  if (expected === undefined) return exchange.unary(put, create(PutRequestSchema, fields));
  return exchange.unary(
    compareAndSet,
    create(CompareAndSetRequestSchema, { ...fields, expected: { case: 'expectedVersion', value: expected } }),
  );
}

/** DELETE; with `If-Match` only that version. */
export async function deleteKey(exchange: PlainExchange, { keyspace, key }: KeyPath): Promise<void> {
  exchange.query();
  refuseHeader(exchange, 'if-none-match', 'a delete takes If-Match only.');
  const expectedVersion = ifMatch(exchange);
  const condition = expectedVersion === undefined ? {} : { expectedVersion };
  const { existed } = await exchange.unary(
    KvService.method.delete,
    create(DeleteRequestSchema, { keyspace, key, ...condition }),
  );
  exchange.json(200, { ...keyJson(key), existed });
}

/** POST with `?increment=N`. */
export async function incrementKey(exchange: PlainExchange, { keyspace, key }: KeyPath): Promise<void> {
  const query = exchange.query('increment', 'ttl');
  refuseHeader(exchange, 'if-match', 'an increment takes no condition.');
  refuseHeader(exchange, 'if-none-match', 'an increment takes no condition.');
  const ttlMs = timeToLive(query);
  const fields = { keyspace, key, delta: delta(query), ...(ttlMs === undefined ? {} : { ttlMs }) };
  const { value, version } = await exchange.unary(
    KvService.method.increment,
    create(IncrementRequestSchema, fields),
  );
  exchange.json(
    200,
    { ...keyJson(key), value: value.toString(), version: version.toString() },
    { ETag: etag(version) },
  );
}

const NO_BYTES = new Uint8Array(0);

function delta(query: Query): bigint {
  const text = query.text('increment');
  if (text === undefined)
    throw malformed('increment', 'POST to a key adds to a counter: say how much with ?increment=N.');
  if (text === '') return 1n;
  const value = /^[+ -]?\d{1,19}$/.test(text) ? BigInt(text.replace(/^[+ ]/, '')) : undefined; // "+5" arrives as " 5"
  if (value !== undefined && BigInt.asIntN(64, value) === value) return value;
  throw malformed(
    'increment',
    `increment is ${JSON.stringify(text.slice(0, 80))}, allowed are whole numbers of 64 bits with sign.`,
    text.slice(0, 80),
  );
}

function timeToLive(query: Query): bigint | undefined {
  const ttlMs = query.duration('ttl');
  return ttlMs === undefined ? undefined : BigInt(ttlMs);
}

function entryHeaders({ version, expiresAtMs }: Entry): OutgoingHttpHeaders {
  const expiry = expiresAtMs === undefined ? {} : { 'Holdfast-Expires-At': rfc3339(expiresAtMs) };
  // A cache may keep the value but has to ask each time: only the node knows whether it still holds.
  return { ETag: etag(version), 'Cache-Control': 'no-cache', ...expiry };
}

function keyNotFound(keyspace: string): HoldfastError {
  const message = `the key does not exist in keyspace "${keyspace}", or has expired.`;
  return new HoldfastError({ reason: 'KEY_NOT_FOUND', code: StatusCode.NOT_FOUND, message, field: 'key' });
}
