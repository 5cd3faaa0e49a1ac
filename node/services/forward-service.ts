/** `holdfast.raft.v1.ForwardService`: what other nodes pass on, done by the replicas of this one. */
import { create } from '@bufbuild/protobuf';
import type { Clock } from '@holdfast/client/clock';
import { HoldfastError } from '@holdfast/client/error';
import { errorToMessage } from '@holdfast/client/error-mapping';
import {
  CommandResultSchema,
  ForwardService,
  ProposeResponseSchema,
  ReadRangeResponseSchema,
  ReadResponseSchema,
  type Command as CommandMessage,
  type CommandResult,
  type ProposeRequest,
  type ReadRangeRequest,
} from '@holdfast/proto/raft/v1/forward';
import type { Admission } from '../cluster/admission.ts';
import { checkClusterRow } from '../cluster/cluster-row.ts';
import type { KeyValue } from '../kv/key-value.ts';
import { COORDINATION_GROUP } from '../raft/members.ts';
import { TreeCommandKind, type TreeTransaction } from '../coordination/tree-command.ts';
import { checkDescriptor, type Keyspaces, type Partition } from '../kv/keyspaces.ts';
import { checkBatch, refuse } from '../kv/limits.ts';
import type { Command } from '../raft/entry.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import { proposalError } from '../raft/propose.ts';
import type { Identity } from '../storage/identity.ts';
import { binaryBytes, binaryString } from '../storage/row-key.ts';
import { serve, type ServedService } from './handler.ts';
import { entryMessage, getMessage } from './kv-messages.ts';

/** Values of one answer. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_ROWS = 4_096;
const MAX_TIMEOUT_MS = 300_000;

export interface ForwardServiceOptions {
  readonly host: GroupHost;
  readonly admission: Admission;
  readonly kv: KeyValue;
  readonly keyspaces: Keyspaces;
  readonly clock: Clock;
  readonly identity: Pick<Identity, 'cluster_id'>;
}

/** The service that nodes call on each other. */
export function forwardService(options: ForwardServiceOptions): ServedService {
  const { kv, keyspaces, identity } = options;
  const check = ({ clusterId }: { readonly clusterId: string }) => checkCluster(clusterId, identity);
  return serve(ForwardService, {
    async propose(_, request) {
      check(request);
      return create(ProposeResponseSchema, { results: await propose(options, request) });
    },

    async read(_, request) {
      check(request);
      const partition = partitionOf(keyspaces, request.group);
      checkBatch(request.keys.length, 0, 'keys');
      const found = await kv.getHere(partition, request.keys, MAX_ANSWER_BYTES);
      const results = found.map((stored, at) => getMessage(request.keys[at]!, stored));
      return create(ReadResponseSchema, { results });
    },

    async readRange(_, request) {
      check(request);
      checkRange(request);
      const { start, end, maxRows, maxBytes } = request;
      const { entries, next } = await kv.readPartHere(partitionOf(keyspaces, request.group), {
        start: binaryString(start),
        end: end && binaryString(end),
        maxRows,
        maxBytes,
      });
      return create(ReadRangeResponseSchema, {
        entries: entries.map(({ key, stored }) => entryMessage(binaryBytes(key), stored)),
        ...(next !== undefined && { next: binaryBytes(next) }),
      });
    },
  });
}

/** Groups of two clusters have the same numbers: a wrong address must not mix them. */
function checkCluster(given: string, { cluster_id: own = '' }: Pick<Identity, 'cluster_id'>): void {
  if (given === own) return;
  throw new HoldfastError({
    reason: 'PERMISSION_DENIED',
    message:
      'the caller is no node of the cluster that this node belongs to. Nothing was done; applications use the other services.',
    outcome: 'NOT_APPLIED',
    field: 'cluster_id',
  });
}

/** All that are admitted are proposed in this turn, in their order. */
function propose(options: ForwardServiceOptions, request: ProposeRequest): Promise<CommandResult[]> {
  const { host } = options;
  const group = Number(request.group);
  const replica = host.replica(group);
  if (replica === undefined) throw proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED' });
  if (!replica.isLeader && !replica.isAlone) {
    throw proposalError({ cause: 'not leader', outcome: 'NOT_APPLIED', ...host.notLed(group) });
  }
  if (request.commands.length > 0) checkBatch(request.commands.length, 0, 'commands');
  const commands = request.commands.map((message) => command(replica, message));
  return Promise.all(
    commands.map((parsed, at) => proposeOne(options, replica, parsed, request.commands[at]!)),
  );
}

/** Checked, because a command that the state machine cannot apply would end every replica. */
function command(replica: GroupReplica, { kind, version, payload }: CommandMessage): Command {
  const given = { kind, version, bytes: payload };
  try {
    const decoded = replica.machine.parse(given);
    if (replica.group === COORDINATION_GROUP && kind === TreeCommandKind.transact) {
      for (const { key, value } of (decoded as TreeTransaction).changes) {
        checkDescriptor(key, value);
        checkClusterRow(key, value);
      }
    }
    return { ...given, decoded };
  } catch (cause) {
    const message = `a command of kind ${kind}, version ${version} and ${payload.length} bytes is none that group ${replica.group} takes. Nothing was proposed.`;
    throw new HoldfastError({ reason: 'MESSAGE_MALFORMED', message, outcome: 'NOT_APPLIED', cause });
  }
}

function proposeOne(
  { host, admission, clock }: ForwardServiceOptions,
  { group, machine }: GroupReplica,
  parsed: Command,
  { grows, timeoutMs }: CommandMessage,
): Promise<CommandResult> {
  const refusal = admission(parsed.bytes.byteLength, grows);
  if (refusal !== undefined) return Promise.resolve(failed(refusal));
  return new Promise((resolve) => {
    host.propose(group, {
      ...parsed,
      deadlineMs: clock.monotonicMs() + Math.min(timeoutMs, MAX_TIMEOUT_MS),
      onApplied: (result) => resolve(applied(machine.encodeResult(result))),
      onFailed: (failure) => resolve(failed(proposalError(failure))),
    });
  });
}

function applied(outcome: Uint8Array): CommandResult {
  const value = outcome as Uint8Array<ArrayBuffer>;
  return create(CommandResultSchema, { result: { case: 'outcome', value } });
}

function failed(error: HoldfastError): CommandResult {
  return create(CommandResultSchema, { result: { case: 'error', value: errorToMessage(error) } });
}

/** What this node does not know it has no replica of. */
function partitionOf(keyspaces: Keyspaces, group: bigint): Partition {
  const partition = keyspaces.partition(Number(group));
  if (partition !== undefined) return partition;
  throw proposalError({ cause: 'no replica', outcome: 'NOT_APPLIED' }).withOutcome(undefined);
}

function checkRange({ maxRows, maxBytes }: ReadRangeRequest): void {
  const check = (field: string, value: number, limit: number) => {
    if (value >= 1 && value <= limit) return;
    const message = `${field} is ${value}, allowed are 1 to ${limit}. Nothing was read.`;
    throw refuse('INVALID_FIELD', field, message, String(value), `1..${limit}`);
  };
  check('max_rows', maxRows, MAX_ROWS);
  check('max_bytes', maxBytes, MAX_ANSWER_BYTES);
}
