/**
 * IDs and sequences as HTTP resources: `/v1/ids`, `/v1/ids/{id}`, `/v1/sequences/{name}`.
 * Numbers of 64 bits are strings.
 */
import { create } from '@bufbuild/protobuf';
import {
  DescribeRequestSchema,
  IdService,
  ListSequencesRequestSchema,
  ListSequencesResponseSchema,
  NextInSequenceRequestSchema,
  NextInSequenceResponseSchema,
  NextRequestSchema,
} from '@holdfast/proto/id/v1/id';
import { refuse } from '../kv/limits.ts';
import type { PlainExchange } from './plain-exchange.ts';
import { messageJson } from './plain-keyspaces.ts';
import { percentDecode } from './plain-query.ts';

type Methods = Readonly<Record<string, () => Promise<void>>>;

const IDS = IdService.method;
const ID = '/v1/ids/';
const SEQUENCE = '/v1/sequences/';

/** Undefined: the path is another one's. */
export function idMethods(exchange: PlainExchange, path: string): Methods | undefined {
  if (path === '/v1/ids' || path === ID) return { POST: () => makeIds(exchange) };
  if (path.startsWith(ID)) return reading(async () => describeId(exchange, path.slice(ID.length)));
  if (path === '/v1/sequences' || path === SEQUENCE) return reading(() => listSequences(exchange));
  if (path.startsWith(SEQUENCE))
    return {
      POST: async () =>
        nextInSequence(exchange, percentDecode(path.slice(SEQUENCE.length), 'name').toString()),
    };
  return undefined;
}

/** POST with `?count`. */
async function makeIds(exchange: PlainExchange): Promise<void> {
  const request = create(NextRequestSchema, { count: exchange.query('count').count('count') ?? 1 });
  const { blocks, worker } = await exchange.unary(IDS.next, request);
  const ids: string[] = [];
  for (const { first, count } of blocks) for (let at = 0n; at < count; at++) ids.push(String(first + at));
  exchange.json(200, { ids, worker });
}

async function describeId(exchange: PlainExchange, raw: string): Promise<void> {
  exchange.query();
  const text = percentDecode(raw, 'id').toString();
  if (!/^\d{1,19}$/.test(text)) throw notAnId(text);
  const id = BigInt(text);
  const { timeMs, worker, sequence } = await exchange.unary(
    IDS.describe,
    create(DescribeRequestSchema, { id }),
  );
  const time = new Date(Number(timeMs)).toISOString();
  exchange.json(200, { id: text, time, time_ms: String(timeMs), worker, sequence });
}

async function listSequences(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('after', 'limit');
  const request = create(ListSequencesRequestSchema, {
    after: query.text('after') ?? '',
    limit: query.count('limit') ?? 0,
  });
  const listed = await exchange.unary(IDS.listSequences, request);
  exchange.json(200, messageJson(ListSequencesResponseSchema, listed));
}

/** POST with `?count`. */
async function nextInSequence(exchange: PlainExchange, name: string): Promise<void> {
  const count = exchange.query('count').count('count') ?? 1;
  // The service takes 0 for none given; who writes it means it.
  if (count === 0) {
    const message = 'count is 0, one call gives 1 to 1000000 numbers. Nothing was given out.';
    throw refuse('COUNT_OUT_OF_RANGE', 'count', message, '0', '1..1000000');
  }
  const taken = await exchange.unary(
    IDS.nextInSequence,
    create(NextInSequenceRequestSchema, { name, count }),
  );
  exchange.json(200, { sequence: name, ...messageJson(NextInSequenceResponseSchema, taken) });
}

function notAnId(text: string) {
  const shown = text.slice(0, 80);
  const message = `id is ${JSON.stringify(shown)}, IDs are whole numbers greater than 0 and below 2^63. Nothing was done.`;
  return refuse('ID_INVALID', 'id', message, shown, '1..9223372036854775807');
}

function reading(read: () => Promise<void>): Methods {
  return { GET: read, HEAD: read };
}
