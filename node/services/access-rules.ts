/**
 * What every method needs of its caller, while permissions are asked for: the one table. A method
 * that is not in it is not served. What keys need follows etcd where etcd has the like; the names
 * of what it has not are in access-names.ts. The page: docs/auth.md.
 */
import { AuthService } from '@holdfast/proto/auth/v1/auth';
import { BrokerService } from '@holdfast/proto/broker/v1/broker';
import { GroupService } from '@holdfast/proto/broker/v1/group';
import { TopicService } from '@holdfast/proto/broker/v1/topic';
import { BackupService } from '@holdfast/proto/cluster/v1/backup';
import { ClusterService } from '@holdfast/proto/cluster/v1/cluster';
import { ConfigService } from '@holdfast/proto/config/v1/config';
import { ElectionService } from '@holdfast/proto/election/v1/election';
import { IdService } from '@holdfast/proto/id/v1/id';
import { KeyspaceService } from '@holdfast/proto/kv/v1/keyspace';
import { KvService, type Operation } from '@holdfast/proto/kv/v1/kv';
import { LeaseService } from '@holdfast/proto/lease/v1/lease';
import { LockService } from '@holdfast/proto/lock/v1/lock';
import { BootstrapService } from '@holdfast/proto/raft/v1/bootstrap';
import { ForwardService } from '@holdfast/proto/raft/v1/forward';
import { checkGroupName } from '../broker/topic-limits.ts';
import { ALL_KEYS } from '../coordination/auth-permission.ts';
import { keySpan } from '../coordination/config-command.ts';
import type { Sessions } from '../coordination/sessions.ts';
import { kvRange, kvSpan, leasedNeeds, namedPrefix, namedSpan, type NamedKind } from './access-names.ts';
import type { KeyNeed, Needs } from './access.ts';
import { authName } from './auth-messages.ts';
import { checkedTransaction } from './config-transaction-messages.ts';
import { deleteOperation, putOperation } from './config-messages.ts';
import { addEtcdRules } from './etcd/etcd-access-rules.ts';
import { AccessRules, type MethodRule, type MethodRules } from './guarded-service.ts';
import { configKey, selectedSpan } from './key-selection.ts';
import { scanSelection } from './kv-messages.ts';
import { topicNeeds } from './topic-needs.ts';
import { operationNeeds, transactionNeeds, type LeasedNeeds } from './operation-needs.ts';
import { namePart, queueName } from './session-messages.ts';
import { sequenceName } from './id-messages.ts';

const ANYBODY: MethodRule = { needs: () => 'nothing', kind: 'write' };
const USERS: MethodRule = { needs: () => 'login', kind: 'read' };
/** What comes together is let in one by one, by its handler. */
const EACH: MethodRule = { needs: () => 'login', kind: 'write' };
const ROOT: MethodRule = { needs: () => 'root', kind: 'write' };
const READ_BY_ROOT: MethodRule = { needs: () => 'root', kind: 'read' };
const NODES: MethodRule = { needs: () => 'node', kind: 'write' };

function reads<I>(needs: (request: I) => Needs): MethodRule<I> {
  return { needs, kind: 'read' };
}

function writes<I>(needs: (request: I) => Needs): MethodRule<I> {
  return { needs, kind: 'write' };
}

/** The rules of all services of a node. `sessions`: asked when there is an engine. */
export function accessRules(sessions: () => Sessions): AccessRules {
  const leased: LeasedNeeds = (lease, use) => leasedNeeds(sessions(), lease, use);
  const rules = new AccessRules()
    .add(ConfigService, configRules(leased))
    .add(LeaseService, leaseRules(leased))
    .add(LockService, LOCK_RULES)
    .add(ElectionService, ELECTION_RULES)
    .add(AuthService, AUTH_RULES)
    .add(IdService, ID_RULES)
    .add(KvService, KV_RULES)
    .add(KeyspaceService, {
      createKeyspace: ROOT,
      dropKeyspace: ROOT,
      describeKeyspace: USERS,
      listKeyspaces: USERS,
    })
    .add(TopicService, {
      createTopic: ROOT,
      alterTopic: ROOT,
      deleteTopic: ROOT,
      describeTopic: USERS,
      listTopics: USERS,
    })
    .add(BrokerService, BROKER_RULES)
    .add(GroupService, GROUP_RULES)
    .add(BackupService, {
      beginSave: ROOT,
      savePartition: ROOT,
      beginRestore: ROOT,
      restoreRows: ROOT,
      completeRestore: ROOT,
    })
    .add(ClusterService, {
      // Asked by whoever finds out where a cluster is and whether it works.
      getStatus: ANYBODY,
      watchMembers: ANYBODY,
      listMembers: USERS,
      addMember: ROOT,
      removeMember: ROOT,
      replaceMember: ROOT,
      transferLeaders: ROOT,
    })
    // Asked by nodes that have no permissions yet, or have lost them.
    .add(BootstrapService, { introduce: ANYBODY, requestRebuild: ANYBODY })
    .add(ForwardService, { propose: NODES, read: NODES, readRange: NODES });
  return addEtcdRules(rules, leased);
}

function configRules(leased: LeasedNeeds): MethodRules<typeof ConfigService> {
  return {
    get: reads((request) => [{ use: 'read', span: keySpan(configKey(request.key)) }]),
    list: reads(({ selection }) => [{ use: 'read', span: selectedSpan(selection) }]),
    put: writes((request) => operationNeeds(putOperation(request), leased)),
    delete: writes((request) => operationNeeds(deleteOperation(request), leased)),
    transact: writes((request) => transactionNeeds(checkedTransaction(request.transaction), leased)),
    batch: EACH, // config-service.ts
    pipeline: EACH,
    watch: EACH, // watch-stream.ts
    compact: writes(() => [{ use: 'write', span: ALL_KEYS }]),
    describe: USERS,
  };
}

function leaseRules(leased: LeasedNeeds): MethodRules<typeof LeaseService> {
  return {
    grant: { ...USERS, kind: 'write' },
    keepAlive: { ...USERS, kind: 'write' },
    revoke: writes(({ lease }) => [leased(lease, 'write')]),
    describe: reads(({ lease }) => [leased(lease, 'read')]),
    list: USERS,
  };
}

const LOCK_RULES: MethodRules<typeof LockService> = {
  acquire: writes(({ lock }) => named('write', 'lock', lock)),
  release: writes(({ lock }) => named('write', 'lock', lock)),
  describe: reads(({ lock }) => named('read', 'lock', lock)),
  list: reads(({ prefix }) => [{ use: 'read', span: namedPrefix('lock', namePart(prefix, 'prefix')) }]),
};

const ELECTION_RULES: MethodRules<typeof ElectionService> = {
  campaign: writes(({ election }) => named('write', 'election', election)),
  proclaim: writes(({ election }) => named('write', 'election', election)),
  resign: writes(({ election }) => named('write', 'election', election)),
  describe: reads(({ election }) => named('read', 'election', election)),
  observe: reads(({ election }) => named('read', 'election', election)),
};

const ID_RULES: MethodRules<typeof IdService> = {
  next: USERS,
  describe: USERS,
  nextInSequence: writes(({ name }) => [{ use: 'write', span: namedSpan('sequence', sequenceName(name)) }]),
  listSequences: reads(() => [{ use: 'read', span: namedPrefix('sequence', '') }]),
};

/** Whoever has an account may see what it is. */
const AUTH_RULES: MethodRules<typeof AuthService> = {
  login: ANYBODY,
  describe: ANYBODY,
  enable: ROOT,
  disable: ROOT,
  listUsers: READ_BY_ROOT,
  describeUser: reads(({ name }) => ({ user: authName(name, 'name') })),
  addUser: ROOT,
  deleteUser: ROOT,
  setPassword: ROOT,
  grantRole: ROOT,
  revokeRole: ROOT,
  listRoles: READ_BY_ROOT,
  describeRole: reads(({ name }) => ({ role: authName(name, 'name') })),
  addRole: ROOT,
  deleteRole: ROOT,
  grantPermission: ROOT,
  revokePermission: ROOT,
};

const GROUP_RULES: MethodRules<typeof GroupService> = {
  joinGroup: writes(({ group, topics }) => [
    ...groupNeeds('write', group),
    ...topicNeeds(
      'read',
      topics.map((topic) => ({ topic })),
    ),
  ]),
  syncGroup: writes(({ group }) => groupNeeds('write', group)),
  leaveGroup: writes(({ group }) => groupNeeds('write', group)),
  fetchOffsets: writes(({ group }) => groupNeeds('write', group)),
  commitOffsets: writes(({ group }) => groupNeeds('write', group)),
  listGroups: reads(() => [{ use: 'read', span: namedPrefix('group', '') }]),
  describeGroup: reads(({ group }) => groupNeeds('read', group)),
  resetOffsets: writes(({ group }) => groupNeeds('write', group)),
  deleteGroup: writes(({ group }) => groupNeeds('write', group)),
};

function groupNeeds(use: KeyNeed['use'], group: string): KeyNeed[] {
  checkGroupName(group);
  return [{ use, span: namedSpan('group', group) }];
}

const BROKER_RULES: MethodRules<typeof BrokerService> = {
  produce: writes(({ partitions }) => topicNeeds('write', partitions)),
  produceStream: EACH, // produce-stream.ts
  fetch: reads(({ partitions }) => topicNeeds('read', partitions)),
  fetchStream: reads(({ fetch }) => topicNeeds('read', fetch?.partitions ?? [])),
  findOffsets: reads(({ partitions }) => topicNeeds('read', partitions)),
  initProducer: { ...USERS, kind: 'write' },
};

interface OneKey {
  readonly keyspace: string;
  readonly key: Uint8Array;
}

const KV_WRITE = writes((request: OneKey) => kv('write', request.keyspace, request.key));

const KV_RULES: MethodRules<typeof KvService> = {
  get: reads((request) => kv('read', request.keyspace, request.key)),
  batchGet: reads(({ keyspace, keys }) => keys.flatMap((one) => kv('read', keyspace, one))),
  scan: reads((request) => {
    const { start, end } = scanSelection(request);
    return [{ use: 'read', span: kvRange(request.keyspace, start, end) }];
  }),
  put: KV_WRITE,
  create: KV_WRITE,
  compareAndSet: KV_WRITE,
  increment: KV_WRITE,
  delete: KV_WRITE,
  batchWrite: writes(({ keyspace, mutations }) => mutations.flatMap((one) => kv('write', keyspace, one.key))),
  transact: writes(({ keyspace, comparisons, thenOperations, elseOperations }) => [
    ...comparisons.flatMap((one) => kv('read', keyspace, one.key)),
    ...[...thenOperations, ...elseOperations].flatMap((one) => kvOperation(keyspace, one)),
  ]),
  pipeline: EACH, // kv-pipeline.ts
};

function named(use: KeyNeed['use'], kind: NamedKind & ('lock' | 'election'), name: string): KeyNeed[] {
  return [{ use, span: namedSpan(kind, queueName(name, kind)) }];
}

function kv(use: KeyNeed['use'], keyspace: string, name: Uint8Array): KeyNeed[] {
  return [{ use, span: kvSpan(keyspace, name) }];
}

function kvOperation(keyspace: string, { operation }: Operation): KeyNeed[] {
  if (operation.case === 'get') return kv('read', keyspace, operation.value);
  return operation.case === 'mutation' ? kv('write', keyspace, operation.value.key) : [];
}
