/**
 * A scan as JSON lines: `GET /v1/kv/{keyspace}`. Sent as it is read, no faster than the
 * caller takes it. If the limit cut it short, the last line says where to go on.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { KvService, ScanRequestSchema, type ScanResponse } from '@holdfast/proto/kv/v1/kv';
import { malformed } from './http-error.ts';
import { entryJson } from './plain-entry.ts';
import type { PlainExchange } from './plain-exchange.ts';
import type { Query } from './plain-query.ts';

const NO_BYTES = new Uint8Array(0);

/** GET on a keyspace. */
export async function scanKeys(exchange: PlainExchange, keyspace: string): Promise<void> {
  const query = exchange.query('prefix', 'start', 'end', 'limit', 'keys_only', 'continuation');
  const keysOnly = query.flag('keys_only');
  const request = create(ScanRequestSchema, {
    keyspace,
    selection: selection(query),
    limit: query.count('limit') ?? 0,
    keysOnly,
    continuation: continuation(query),
  });
  let left: Uint8Array = NO_BYTES;
  // The first part is awaited before the head is sent, so that a refusal has its own status.
  for await (const part of exchange.stream(KvService.method.scan, request)) {
    startAnswer(exchange);
    left = part.continuation;
    if (part.entries.length > 0) await exchange.write(lines(part, keysOnly));
  }
  startAnswer(exchange);
  if (left.length > 0)
    await exchange.write(Buffer.from(`{"continuation":"${Buffer.from(left).toString('base64url')}"}\n`));
  exchange.response.end();
}

function startAnswer({ response }: PlainExchange): void {
  if (!response.headersSent)
    response.writeHead(200, { 'Content-Type': 'application/jsonl', 'X-Content-Type-Options': 'nosniff' });
}

function lines({ entries }: ScanResponse, keysOnly: boolean): Buffer {
  return Buffer.from(entries.map((entry) => `${JSON.stringify(entryJson(entry, keysOnly))}\n`).join(''));
}

function selection(query: Query): NonNullable<MessageInitShape<typeof ScanRequestSchema>['selection']> {
  const prefix = query.bytes('prefix');
  const start = query.bytes('start');
  const end = query.bytes('end');
  if (prefix !== undefined && (start !== undefined || end !== undefined)) {
    throw malformed('prefix', 'prefix and a range exclude each other: give prefix, or start and end.');
  }
  if (prefix !== undefined) return { case: 'prefix', value: prefix };
  if (start === undefined && end === undefined) return { case: undefined };
  return { case: 'range', value: { start: start ?? NO_BYTES, end: end ?? NO_BYTES } };
}

function continuation(query: Query): Uint8Array {
  const text = query.text('continuation');
  if (text === undefined) return NO_BYTES;
  if (/^[A-Za-z0-9_-]+$/.test(text)) return Buffer.from(text, 'base64url');
  throw malformed(
    'continuation',
    'the continuation is not one that a scan gave: send the text of its last line as it is.',
    text.slice(0, 80),
  );
}
