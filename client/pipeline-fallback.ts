import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BatchWriteRequestSchema,
  GetRequestSchema,
  KvService,
  type MutationResult,
  type BatchWriteResponse,
  type PipelineCall as CallMessage,
  PipelineCallSchema,
  type WriteOptionsSchema,
} from '@holdfast/proto/kv/v1/kv';
import type { ClientCore } from './core.ts';
import { Entry } from './entry.ts';
import { HoldfastError } from './error.ts';
import { errorFromMessage } from './error-mapping.ts';
import type { PartitionDirectory } from './partition-directory.ts';
import type { PipelineCall } from './pipeline-call.ts';
import type { Answer } from './pipeline-codec.ts';
import { callUnary, type UnaryOptions } from './unary.ts';

// For nodes, or proxies before them, that do not serve `Pipeline`: the same call by a
// unary method. A mutation goes as a BatchWrite of one, which takes every kind as it is.

/**
 * Makes a pipeline call by a unary method, with retries. `lost`: an earlier attempt, by a
 * pipeline, was never answered.
 */
export async function callByUnary(
  core: ClientCore,
  directory: PartitionDirectory,
  call: PipelineCall,
  lost: boolean,
): Promise<Answer> {
  const message = fromBinary(PipelineCallSchema, call.operation);
  const options: UnaryOptions = {
    timeoutMs: call.timeoutMs,
    signal: call.signal,
    onRefused: (reason) => directory.refused(call.keyspace, reason),
  };
  return call.isWrite
    ? write(core, call, message, { ...options, isWrite: true, sequence: call.sequence, lost })
    : read(core, call, message, options);
}

async function read(core: ClientCore, call: PipelineCall, message: CallMessage, options: UnaryOptions) {
  if (message.operation.case !== 'get') throw noResult();
  const { key, options: readOptions } = message.operation.value;
  const request = create(GetRequestSchema, { keyspace: call.keyspace, key });
  if (readOptions !== undefined) request.options = readOptions;
  const { entry } = await callUnary(core, KvService.method.get, request, options);
  return { ...EMPTY, entry: entry === undefined ? undefined : Entry.fromMessage(entry) };
}

async function write(core: ClientCore, call: PipelineCall, message: CallMessage, options: UnaryOptions) {
  if (message.operation.case !== 'mutation') throw noResult();
  const request = create(BatchWriteRequestSchema, {
    keyspace: call.keyspace,
    options: writeOptions(core, call.sequence, call.open, message.fence),
    mutations: [message.operation.value],
  });
  const response = await callUnary(core, KvService.method.batchWrite, request, {
    ...options,
    reopen: () => (request.options!.sequence!.open = true),
    // Judged like an error of the call itself: it may be safe to repeat, or follow a lost attempt.
    check: (answer) => void applied(answer),
  });
  const { version, counter, existed } = applied(response);
  return { ...EMPTY, version, counter, existed };
}

/** The result of a batch of one; throws its error. */
function applied(response: BatchWriteResponse): MutationResult {
  const result = response.results[0]?.result;
  if (result?.case === 'error') throw errorFromMessage(result.value);
  if (result?.case !== 'applied') throw noResult();
  return result.value;
}

/** WriteOptions of a unary write. */
export function writeOptions(
  core: ClientCore,
  sequence: number,
  open: boolean,
  fence: { lock: string; token: bigint } | undefined,
): MessageInitShape<typeof WriteOptionsSchema> {
  const { clientId, ackedBelow } = core.sequences;
  const identity = { clientId, sequence: BigInt(sequence), ackedBelow: BigInt(ackedBelow), open };
  return fence === undefined
    ? { sequence: identity }
    : { sequence: identity, fence: { lock: fence.lock, token: fence.token } };
}

const EMPTY: Answer = {
  id: 0,
  entry: undefined,
  version: 0n,
  counter: undefined,
  existed: undefined,
  error: undefined,
};

function noResult(): HoldfastError {
  return new HoldfastError({ reason: 'INTERNAL', message: 'the node answered without a result' });
}
