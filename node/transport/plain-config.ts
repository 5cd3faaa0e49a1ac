/**
 * The configuration as HTTP resources: `/v1/config/{key}`. The key is everything behind, percent-
 * decoded; the revision of its last change is the entity tag. Numbers of 64 bits are strings.
 */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { errorFromMessage } from '@holdfast/client/error-mapping';
import { StatusCode } from '@holdfast/client/reasons';
import {
  CompactRequestSchema,
  ConfigService,
  DeleteRequestSchema,
  DescribeRequestSchema,
  DescribeResponseSchema,
  EventType,
  GetRequestSchema,
  KeySelectionSchema,
  ListRequestSchema,
  PutRequestSchema,
  WatchRequestSchema,
  WatchResponseSchema,
  type Entry,
  type Event,
  type KeySelection,
  type WatchResponse,
} from '@holdfast/proto/config/v1/config';
import { malformed } from './http-error.ts';
import { etag, ifMatch, ifNoneMatchAny, isKnown, refuseHeader } from './plain-conditions.ts';
import { bytesJson, keyJson } from './plain-entry.ts';
import type { PlainExchange } from './plain-exchange.ts';
import { messageJson } from './plain-keyspaces.ts';
import { percentDecode, type Query } from './plain-query.ts';

const METHODS = ConfigService.method;
const CONFIG = '/v1/config';
const NO_BYTES = new Uint8Array(0);

type Methods = Readonly<Record<string, () => Promise<void>>>;

/** Undefined: the path is another one's. */
export function configMethods(exchange: PlainExchange, path: string): Methods | undefined {
  if (path === CONFIG)
    return {
      GET: () => listEntries(exchange),
      DELETE: () => deleteEntries(exchange),
      POST: () => compact(exchange),
    };
  if (!path.startsWith(`${CONFIG}/`)) return undefined;
  const key = () => percentDecode(path.slice(CONFIG.length + 1), 'key') as Uint8Array<ArrayBuffer>;
  const get = async () => getEntry(exchange, key());
  return {
    GET: get,
    HEAD: get,
    PUT: async () => putEntry(exchange, key()),
    DELETE: async () => deleteEntry(exchange, key()),
  };
}

/** `?describe`: what the tree is at. */
async function describe(exchange: PlainExchange): Promise<void> {
  const described = await exchange.unary(METHODS.describe, create(DescribeRequestSchema));
  exchange.json(200, messageJson(DescribeResponseSchema, described));
}

async function getEntry(exchange: PlainExchange, key: Uint8Array<ArrayBuffer>): Promise<void> {
  const query = exchange.query('revision', 'stale');
  refuseHeader(exchange, 'if-match', 'reads take If-None-Match only.');
  const request = create(GetRequestSchema, { key, options: readOptions(query) });
  const { entry } = await exchange.unary(METHODS.get, request);
  if (entry === undefined) throw notFound();
  const headers = { ETag: etag(entry.modRevision), 'Cache-Control': 'no-cache' };
  if (isKnown(exchange, entry.modRevision)) return exchange.send(304, NO_BYTES, headers);
  exchange.send(200, entry.value, {
    ...headers,
    'Content-Type': 'application/octet-stream',
    'X-Content-Type-Options': 'nosniff',
  });
}

/** PUT; with `If-None-Match: *` create-only, with `If-Match` compare-and-set. */
async function putEntry(exchange: PlainExchange, key: Uint8Array<ArrayBuffer>): Promise<void> {
  const query = exchange.query('lease');
  const lease = wholeNumber(query, 'lease') ?? 0n;
  const expected = ifMatch(exchange);
  const createOnly = ifNoneMatchAny(exchange);
  if (createOnly && expected !== undefined)
    throw malformed('If-Match', 'If-Match and If-None-Match exclude each other.');
  const condition = createOnly ? 0n : expected;
  const request = create(PutRequestSchema, {
    key,
    value: (await exchange.body()) as Uint8Array<ArrayBuffer>,
    lease,
    ...(condition !== undefined && { ifModRevision: condition }),
  });
  const { revision } = await exchange.unary(METHODS.put, request);
  const answer = { ...keyJson(key), revision: String(revision) };
  exchange.json(createOnly ? 201 : 200, answer, { ETag: etag(revision) });
}

/** DELETE; with `If-Match` only that revision. */
async function deleteEntry(exchange: PlainExchange, key: Uint8Array<ArrayBuffer>): Promise<void> {
  exchange.query();
  refuseHeader(exchange, 'if-none-match', 'a delete takes If-Match only.');
  const expected = ifMatch(exchange);
  const request = create(DeleteRequestSchema, {
    selection: create(KeySelectionSchema, { selection: { case: 'key', value: key } }),
    ...(expected !== undefined && { ifModRevision: expected }),
  });
  const { deleted, revision } = await exchange.unary(METHODS.delete, request);
  exchange.json(200, { ...keyJson(key), existed: deleted > 0n, revision: String(revision) });
}

/** DELETE with `?prefix=` or a range. */
async function deleteEntries(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('prefix', 'start', 'end');
  if (!['prefix', 'start', 'end'].some((name) => query.has(name)))
    throw malformed('prefix', 'say which keys are to be deleted: ?prefix=, or ?start= and ?end=.');
  const request = create(DeleteRequestSchema, { selection: selectionOf(query) });
  const { deleted, revision } = await exchange.unary(METHODS.delete, request);
  exchange.json(200, { deleted: String(deleted), revision: String(revision) });
}

/** POST with `?compact=REVISION`. */
async function compact(exchange: PlainExchange): Promise<void> {
  const revision = wholeNumber(exchange.query('compact'), 'compact');
  if (revision === undefined)
    throw malformed('compact', 'POST forgets history: say before which revision with ?compact=REVISION.');
  const answer = await exchange.unary(METHODS.compact, create(CompactRequestSchema, { revision }));
  exchange.json(200, { revision: String(answer.revision) });
}

const LISTING = ['prefix', 'start', 'end', 'limit', 'keys_only', 'descending', 'revision', 'stale'];
const WATCHING = ['watch', 'key', 'from', 'previous', 'without_puts', 'without_deletes'];

/** GET with `?prefix=` or a range as JSON lines; with `&watch=true` those that go on. */
async function listEntries(exchange: PlainExchange): Promise<void> {
  const query = exchange.query(...LISTING, ...WATCHING, 'describe');
  if (query.flag('describe')) return describe(exchange);
  if (query.flag('watch')) return watch(exchange, query);
  const unused = WATCHING.find((name) => query.has(name) && name !== 'watch');
  if (unused !== undefined) throw malformed(unused, `${unused} is for ?watch=true.`);
  const request = create(ListRequestSchema, {
    selection: selectionOf(query),
    options: readOptions(query),
    limit: query.count('limit') ?? 0,
    keysOnly: query.flag('keys_only'),
    descending: query.flag('descending'),
  });
  const { entries, more, revision } = await exchange.unary(METHODS.list, request);
  const lines = entries.map((entry) => line(entryJson(entry, request.keysOnly)));
  lines.push(line({ more, revision: String(revision) }));
  exchange.send(200, Buffer.from(lines.join('')), { ...JSON_LINES, ETag: etag(revision) });
}

const JSON_LINES = { 'Content-Type': 'application/jsonl', 'X-Content-Type-Options': 'nosniff' };

async function watch(exchange: PlainExchange, query: Query): Promise<void> {
  const unused = LISTING.slice(3).find((name) => query.has(name));
  if (unused !== undefined) throw malformed(unused, `${unused} is not for ?watch=true.`);
  const creation = {
    watchId: 1n,
    selection: selectionOf(query),
    startRevision: wholeNumber(query, 'from') ?? 0n,
    withPrevious: query.flag('previous'),
    withoutPuts: query.flag('without_puts'),
    withoutDeletes: query.flag('without_deletes'),
    progress: true,
  };
  const request = create(WatchRequestSchema, { request: { case: 'create', value: creation } });
  const { response } = exchange;
  for await (const message of exchange.converse(METHODS.watch, toBinary(WatchRequestSchema, request))) {
    const first = fromBinary(WatchResponseSchema, message);
    const lines = [first, ...first.further].flatMap(responseLines);
    if (!response.headersSent) response.writeHead(200, JSON_LINES);
    await exchange.write(Buffer.from(lines.map(line).join('')));
  }
  response.end();
}

/** What is said in one line each: all changes of a revision stand together. Error: why the watch is over. */
function responseLines({ response }: WatchResponse): object[] {
  switch (response.case) {
    case 'created':
      return [{ type: 'created', revision: String(response.value.revision) }];
    case 'progress':
      return [{ type: 'progress', revision: String(response.value.revision) }];
    case 'heartbeat':
      return [{ type: 'heartbeat' }];
    case 'events':
      return byRevision(response.value.events);
    case 'cancelled':
      throw watchEnd(response.value.error && errorFromMessage(response.value.error));
    default:
      return [];
  }
}

function byRevision(events: readonly Event[]): object[] {
  const lines: { type: string; revision: string; events: object[] }[] = [];
  for (const event of events) {
    const revision = String(event.entry!.modRevision);
    if (lines.at(-1)?.revision !== revision) lines.push({ type: 'changes', revision, events: [] });
    lines.at(-1)!.events.push(eventJson(event));
  }
  return lines;
}

function eventJson({ type, entry, previous }: Event): object {
  const isDelete = type === EventType.DELETE;
  return {
    type: isDelete ? 'delete' : 'put',
    ...(isDelete ? keyJson(entry!.key) : entryJson(entry!, false)),
    ...(previous && { previous: entryJson(previous, false) }),
  };
}

function entryJson(entry: Entry, keysOnly: boolean): Record<string, string> {
  const { key, value, createRevision, modRevision, version, lease } = entry;
  return {
    ...keyJson(key),
    ...(keysOnly ? {} : bytesJson('value', value)),
    create_revision: String(createRevision),
    mod_revision: String(modRevision),
    version: String(version),
    ...(lease === 0n ? {} : { lease: String(lease) }),
  };
}

function selectionOf(query: Query): KeySelection {
  const bytes = (name: string) => query.bytes(name) as Uint8Array<ArrayBuffer> | undefined;
  const [key, prefix, start, end] = [bytes('key'), bytes('prefix'), bytes('start'), bytes('end')];
  const isRange = start !== undefined || end !== undefined;
  if (Number(key !== undefined) + Number(prefix !== undefined) + Number(isRange) > 1)
    throw malformed('prefix', 'key, prefix and a range exclude each other: give one.');
  let selection: MessageInitShape<typeof KeySelectionSchema>['selection'];
  if (key !== undefined) selection = { case: 'key', value: key };
  else if (isRange)
    selection = { case: 'range', value: { start: start ?? NO_BYTES, ...(end !== undefined && { end }) } };
  else selection = { case: 'prefix', value: prefix ?? NO_BYTES };
  return create(KeySelectionSchema, { selection });
}

function readOptions(query: Query): { revision: bigint; stale: boolean } {
  return { revision: wholeNumber(query, 'revision') ?? 0n, stale: query.flag('stale') };
}

function wholeNumber(query: Query, name: string): bigint | undefined {
  const text = query.text(name);
  if (text === undefined) return undefined;
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  const shown = text.slice(0, 80);
  throw malformed(name, `${name} is ${JSON.stringify(shown)}, it must be a whole number.`, shown);
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

function watchEnd(error: HoldfastError | undefined): HoldfastError {
  return error ?? new HoldfastError({ reason: 'UNAVAILABLE', message: 'the node has ended the watch.' });
}

function notFound(): HoldfastError {
  const message = 'the key does not exist in the configuration.';
  return new HoldfastError({ reason: 'KEY_NOT_FOUND', code: StatusCode.NOT_FOUND, message, field: 'key' });
}
