/** Keyspaces and the cluster as HTTP resources: `/v1/keyspaces/{name}`, `/v1/status`. */
import { create, toJson, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import {
  ClusterService,
  GetStatusRequestSchema,
  GetStatusResponseSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import {
  CreateKeyspaceRequestSchema,
  DescribeKeyspaceRequestSchema,
  DropKeyspaceRequestSchema,
  KeyspaceSchema,
  KeyspaceService,
  ListKeyspacesRequestSchema,
  ListKeyspacesResponseSchema,
} from '@holdfast/proto/kv/v1/keyspace';
import { malformed } from './http-error.ts';
import type { PlainExchange } from './plain-exchange.ts';

/** Settings of a new keyspace, and the fields that they are in the request. */
const SETTINGS: Readonly<Record<string, 'partitions' | 'maxKeyBytes' | 'maxValueBytes'>> = {
  partitions: 'partitions',
  max_key_bytes: 'maxKeyBytes',
  max_value_bytes: 'maxValueBytes',
};

export async function listKeyspaces(exchange: PlainExchange): Promise<void> {
  exchange.query();
  const response = await exchange.unary(
    KeyspaceService.method.listKeyspaces,
    create(ListKeyspacesRequestSchema),
  );
  exchange.json(200, messageJson(ListKeyspacesResponseSchema, response));
}

export async function describeKeyspace(exchange: PlainExchange, name: string): Promise<void> {
  exchange.query();
  const { keyspace } = await exchange.unary(
    KeyspaceService.method.describeKeyspace,
    create(DescribeKeyspaceRequestSchema, { name }),
  );
  exchange.json(200, messageJson(KeyspaceSchema, keyspace!));
}

/** PUT with an optional JSON body of settings. */
export async function createKeyspace(exchange: PlainExchange, name: string): Promise<void> {
  exchange.query();
  const request = create(CreateKeyspaceRequestSchema, { name, ...settings(await exchange.body()) });
  const { keyspace } = await exchange.unary(KeyspaceService.method.createKeyspace, request);
  exchange.json(201, messageJson(KeyspaceSchema, keyspace!));
}

export async function dropKeyspace(exchange: PlainExchange, name: string): Promise<void> {
  exchange.query();
  await exchange.unary(KeyspaceService.method.dropKeyspace, create(DropKeyspaceRequestSchema, { name }));
  exchange.json(200, { name, dropped: true });
}

export async function clusterStatus(exchange: PlainExchange): Promise<void> {
  exchange.query();
  const response = await exchange.unary(ClusterService.method.getStatus, create(GetStatusRequestSchema));
  exchange.json(200, messageJson(GetStatusResponseSchema, response));
}

/** A message with the names of its proto file. */
export function messageJson<D extends DescMessage>(schema: D, message: MessageShape<D>): object {
  return toJson(schema, message, { useProtoFieldName: true, alwaysEmitImplicit: true }) as object;
}

function settings(body: Buffer): { partitions?: number; maxKeyBytes?: number; maxValueBytes?: number } {
  if (body.length === 0) return {};
  const fields: Record<string, number> = {};
  for (const [name, value] of Object.entries(parse(body))) {
    const field = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (field === undefined) {
      throw malformed(
        name.slice(0, 80),
        `${JSON.stringify(name.slice(0, 80))} is not a setting of a keyspace; there are: ${Object.keys(SETTINGS).join(', ')}.`,
      );
    }
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
      throw malformed(
        name,
        `${name} is not a whole number from 0 to 4294967295.`,
        JSON.stringify(value).slice(0, 80),
      );
    }
    fields[field] = value;
  }
  return fields;
}

function parse(body: Buffer): object {
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch (cause) {
    throw notAnObject(cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw notAnObject(undefined);
}

function notAnObject(cause: unknown): HoldfastError {
  const message = `the body is not a JSON object; it may be empty, or hold ${Object.keys(SETTINGS).join(', ')}. Nothing was done.`;
  return new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
}
