/** What is to be asked of each method of all services, for a test that asks all of them. */

const bytes = (text: string) => Buffer.from(text) as Uint8Array<ArrayBuffer>;

/** Those that take a user with a role, or none: any user is enough, or nobody is asked. */
export const FREE_METHODS: Readonly<Record<string, 'nobody' | 'login'>> = {
  'holdfast.auth.v1.AuthService/Login': 'nobody',
  'holdfast.auth.v1.AuthService/Describe': 'nobody',
  'etcdserverpb.Auth/Authenticate': 'nobody',
  'etcdserverpb.Watch/Watch': 'login',
  'etcdserverpb.Lease/LeaseGrant': 'login',
  'etcdserverpb.Lease/LeaseKeepAlive': 'login',
  'etcdserverpb.Lease/LeaseLeases': 'login',
  'holdfast.config.v1.ConfigService/Describe': 'login',
  'holdfast.config.v1.ConfigService/Batch': 'login',
  'holdfast.config.v1.ConfigService/Pipeline': 'login',
  'holdfast.config.v1.ConfigService/Watch': 'login',
  'holdfast.kv.v1.KvService/Pipeline': 'login',
  'holdfast.kv.v1.KeyspaceService/DescribeKeyspace': 'login',
  'holdfast.kv.v1.KeyspaceService/ListKeyspaces': 'login',
  'holdfast.lease.v1.LeaseService/Grant': 'login',
  'holdfast.lease.v1.LeaseService/KeepAlive': 'login',
  'holdfast.lease.v1.LeaseService/List': 'login',
  'holdfast.id.v1.IdService/Next': 'login',
  'holdfast.id.v1.IdService/Describe': 'login',
  'holdfast.cluster.v1.ClusterService/GetStatus': 'nobody',
  'holdfast.cluster.v1.ClusterService/ListMembers': 'login',
  'holdfast.raft.v1.BootstrapService/Introduce': 'nobody',
  'holdfast.raft.v1.BootstrapService/RequestRebuild': 'nobody',
};
/** What has to be in a request so that the rule can say what it needs. */
export const METHOD_REQUESTS: Readonly<Record<string, Record<string, unknown>>> = {
  'holdfast.config.v1.ConfigService/Get': { key: bytes('z') },
  'holdfast.config.v1.ConfigService/List': { selection: { selection: { case: 'key', value: bytes('z') } } },
  'holdfast.config.v1.ConfigService/Put': { key: bytes('z'), value: bytes('value') },
  'holdfast.config.v1.ConfigService/Delete': { selection: { selection: { case: 'key', value: bytes('z') } } },
  'holdfast.config.v1.ConfigService/Transact': {
    transaction: {
      thenOperations: [{ operation: { case: 'put', value: { key: bytes('z'), value: bytes('value') } } }],
    },
  },
  'etcdserverpb.KV/Range': { key: bytes('z') },
  'etcdserverpb.KV/Put': { key: bytes('z') },
  'etcdserverpb.KV/DeleteRange': { key: bytes('z') },
  'etcdserverpb.KV/Txn': { compare: [{ key: bytes('z') }] },
  'etcdserverpb.Lease/LeaseRevoke': { ID: 7n },
  'etcdserverpb.Lease/LeaseTimeToLive': { ID: 7n, keys: true },
  'holdfast.auth.v1.AuthService/DescribeUser': { name: 'root' },
  'holdfast.auth.v1.AuthService/DescribeRole': { name: 'other' },
  'holdfast.lease.v1.LeaseService/Revoke': { lease: 7n },
  'holdfast.lease.v1.LeaseService/Describe': { lease: 7n },
  'holdfast.lock.v1.LockService/Acquire': { lock: 'l' },
  'holdfast.lock.v1.LockService/Release': { lock: 'l' },
  'holdfast.lock.v1.LockService/Describe': { lock: 'l' },
  'holdfast.election.v1.ElectionService/Campaign': { election: 'e' },
  'holdfast.election.v1.ElectionService/Proclaim': { election: 'e' },
  'holdfast.election.v1.ElectionService/Resign': { election: 'e' },
  'holdfast.election.v1.ElectionService/Describe': { election: 'e' },
  'holdfast.election.v1.ElectionService/Observe': { election: 'e' },
  'holdfast.id.v1.IdService/NextInSequence': { name: 's' },
  'holdfast.kv.v1.KvService/BatchGet': { keyspace: 'default', keys: [bytes('k')] },
  'holdfast.kv.v1.KvService/BatchWrite': { mutations: [{ key: bytes('k') }] },
  'holdfast.kv.v1.KvService/Transact': { comparisons: [{ key: bytes('k') }] },
};
