/**
 * What the methods of etcd's API need, as etcd has it, and where etcd asks nobody, as ours do:
 * access-rules.ts. Keys are those of the configuration.
 */
import {
  AlarmRequest_AlarmAction as AlarmAction,
  Auth,
  Cluster,
  KV,
  Lease,
  Maintenance,
  Watch,
} from '@holdfast/proto/etcd/rpc';
import { Election } from '@holdfast/proto/etcd/v3election';
import { Lock } from '@holdfast/proto/etcd/v3lock';
import { ALL_KEYS, type KeyUse } from '../../coordination/auth-permission.ts';
import { binaryString } from '../../storage/row-key.ts';
import type { KeyNeed, Needs } from '../access.ts';
import type { AccessRules, MethodRule, MethodRules } from '../guarded-service.ts';
import { prefixSpan } from '../key-selection.ts';
import { operationNeeds, transactionNeeds, type LeasedNeeds } from '../operation-needs.ts';
import { toldAsEtcd } from './etcd-error.ts';
import { rangeSpan } from './etcd-keys.ts';
import { EtcdTransaction, deleteOperation, putOperation } from './etcd-transaction.ts';

const ANYBODY: MethodRule = { needs: () => 'nothing', kind: 'write' };
const USERS: MethodRule = { needs: () => 'login', kind: 'read' };
/** What is said on a stream is let in by its handler. */
const EACH: MethodRule = { needs: () => 'login', kind: 'write' };
const ROOT: MethodRule = { needs: () => 'root', kind: 'write' };
const READ_BY_ROOT: MethodRule = { needs: () => 'root', kind: 'read' };

/** Adds the rules of etcd's services; refusals are in etcd's words. */
export function addEtcdRules(rules: AccessRules, leased: LeasedNeeds): AccessRules {
  return rules
    .add(KV, kvRules(leased), toldAsEtcd)
    .add(Watch, { watch: EACH }, toldAsEtcd)
    .add(Lease, leaseRules(leased), toldAsEtcd)
    .add(Cluster, CLUSTER_RULES, toldAsEtcd)
    .add(Maintenance, MAINTENANCE_RULES, toldAsEtcd)
    .add(Auth, AUTH_RULES, toldAsEtcd)
    .add(Lock, LOCK_RULES, toldAsEtcd)
    .add(Election, ELECTION_RULES, toldAsEtcd);
}

function kvRules(leased: LeasedNeeds): MethodRules<typeof KV> {
  return {
    range: reads(({ key, rangeEnd }) => inRange('read', key, rangeEnd)),
    put: writes((request) => operationNeeds(putOperation(request), leased)),
    deleteRange: writes((request) => operationNeeds(deleteOperation(request), leased)),
    // How many operations there may be is the handler's to say.
    txn: writes((request) => transactionNeeds(new EtcdTransaction(request, Infinity).transaction, leased)),
    compact: writes(() => [{ use: 'write', span: ALL_KEYS }]),
  };
}

function leaseRules(leased: LeasedNeeds): MethodRules<typeof Lease> {
  return {
    leaseGrant: { ...USERS, kind: 'write' },
    leaseRevoke: writes(({ ID }) => [leased(ID, 'write')]),
    leaseKeepAlive: EACH,
    leaseTimeToLive: reads(({ ID, keys }) => (keys ? [leased(ID, 'read')] : 'login')),
    leaseLeases: USERS,
  };
}

const CLUSTER_RULES: MethodRules<typeof Cluster> = {
  memberAdd: ROOT,
  memberRemove: ROOT,
  memberUpdate: ROOT,
  // How clients find the cluster, before they log in.
  memberList: ANYBODY,
  memberPromote: ROOT,
};

const MAINTENANCE_RULES: MethodRules<typeof Maintenance> = {
  alarm: writes(({ action }) => (action === AlarmAction.GET ? 'login' : 'root')),
  status: ANYBODY,
  defragment: ROOT,
  hash: READ_BY_ROOT,
  hashKV: READ_BY_ROOT,
  snapshot: READ_BY_ROOT,
  moveLeader: ROOT,
};

const AUTH_RULES: MethodRules<typeof Auth> = {
  authEnable: ROOT,
  authDisable: ROOT,
  authStatus: READ_BY_ROOT,
  authenticate: ANYBODY,
  userAdd: ROOT,
  userGet: reads(({ name }) => ({ user: binaryString(Buffer.from(name)) })),
  userList: READ_BY_ROOT,
  userDelete: ROOT,
  userChangePassword: ROOT,
  userGrantRole: ROOT,
  userRevokeRole: ROOT,
  roleAdd: ROOT,
  roleGet: reads(({ role }) => ({ role: binaryString(Buffer.from(role)) })),
  roleList: READ_BY_ROOT,
  roleDelete: ROOT,
  roleGrantPermission: ROOT,
  roleRevokePermission: ROOT,
};

/** They are keys below the name, which whoever takes part reads and writes. */
const LOCK_RULES: MethodRules<typeof Lock> = {
  lock: writes(({ name }) => below(name, 'read', 'write')),
  unlock: writes(({ key }) => inRange('write', key)),
};

const ELECTION_RULES: MethodRules<typeof Election> = {
  campaign: writes(({ name }) => below(name, 'read', 'write')),
  proclaim: writes(({ leader }) => inRange('write', leader?.key ?? new Uint8Array(0))),
  leader: reads(({ name }) => below(name, 'read')),
  observe: reads(({ name }) => below(name, 'read')),
  resign: writes(({ leader }) => inRange('write', leader?.key ?? new Uint8Array(0))),
};

function reads<I>(needs: (request: I) => Needs): MethodRule<I> {
  return { needs, kind: 'read' };
}

function writes<I>(needs: (request: I) => Needs): MethodRule<I> {
  return { needs, kind: 'write' };
}

/** Of a range without keys nothing is needed but a user; what is wrong with a key its handler says. */
function inRange(use: KeyUse, key: Uint8Array, rangeEnd: Uint8Array = new Uint8Array(0)): Needs {
  if (key.byteLength === 0) return 'login';
  const span = rangeSpan(key, rangeEnd);
  return span === undefined ? 'login' : [{ use, span }];
}

function below(name: Uint8Array, ...uses: KeyUse[]): KeyNeed[] {
  const span = prefixSpan(`${binaryString(name)}/`);
  return uses.map((use) => ({ use, span }));
}
