/**
 * The client of Holdfast: `connect` gives a `Holdfast`, `hf.keyspace(name)` the keys of a
 * keyspace. Every failure is a `HoldfastError` with a stable `reason`.
 */
export { Backups, type PartitionSink } from './backups.ts';
export type { AssignmentStrategy } from './broker/assignment-strategy.ts';
export type { Compression } from './broker/compression.ts';
export { Consumer, type RunOptions } from './broker/consumer.ts';
export { ConsumerMessage } from './broker/consumer-message.ts';
export type {
  ConsumerOptions,
  LostPartition,
  StartPosition,
  TopicPartitionOffset,
} from './broker/consumer-options.ts';
export {
  type GroupDescription,
  type GroupMemberDescription,
  type GroupPartitionDescription,
  Groups,
  type GroupSummary,
  type ResetOptions,
  type ResetResult,
  type ResetTarget,
  type TopicPartition,
} from './broker/groups.ts';
export { Producer } from './broker/producer.ts';
export type {
  Partitioner,
  ProducerHeaders,
  ProducerOptions,
  ProducerRecord,
  RecordLocation,
} from './broker/producer-options.ts';
export type { RecordHeader } from './broker/record-writer.ts';
export {
  type AlterTopicOptions,
  type CleanupPolicy,
  type CreateTopicOptions,
  type PartitionOffsets,
  type TopicDescription,
  type TopicPartitionDescription,
  Topics,
  type TopicSettings,
} from './broker/topics.ts';
export type { Clock, Timer } from './clock.ts';
export {
  Cluster,
  type MemberList,
  type MemberUpdate,
  type NewMember,
  type TransferOptions,
} from './cluster.ts';
export { Config } from './config/config.ts';
export { ConfigEntry } from './config/config-entry.ts';
export type {
  ConfigCondition,
  ConfigDeleteOptions,
  ConfigDeleteResult,
  ConfigDescription,
  ConfigList,
  ConfigListOptions,
  ConfigOperation,
  ConfigOperationResult,
  ConfigPutOptions,
  ConfigPutResult,
  ConfigReadOptions,
  ConfigSelection,
  ConfigSortBy,
  ConfigTransaction,
  ConfigTransactionResult,
  LeaseReference,
} from './config/config-options.ts';
export { ConfigEvent, type ConfigWatchOptions, type WatchItem } from './config/config-event.ts';
export {
  ConfigView,
  type ShapedValues,
  type ViewChange,
  type ViewOptions,
  type ViewShape,
} from './config/config-view.ts';
export { ConfigWatch } from './config/config-watch.ts';
export { Flags, type FlagRule, type FlagSubject } from './config/flags.ts';
export type { StandardSchema, ValueSchema } from './config/value-schema.ts';
export { connect } from './connect.ts';
export type { Duration } from './duration.ts';
export { Entry } from './entry.ts';
export { HoldfastError, type HoldfastErrorInit, type Outcome } from './error.ts';
export { Holdfast } from './holdfast.ts';
export type { IdDescription } from './ids/id-layout.ts';
export { Ids } from './ids/ids.ts';
export type { MemberDescription, MemberLiveness, MemberStatus } from './member-status.ts';
export { NamedSequence, type SequenceSummary } from './ids/named-sequence.ts';
export { Keyspace, type WriteResult } from './keyspace.ts';
export type {
  BatchOperation,
  CallOptions,
  ReadOptions,
  Comparator,
  Condition,
  DeleteOptions,
  ExpiringWriteOptions,
  Fence,
  PutOptions,
  ScanOptions,
  Transaction,
  TransactionOperation,
  WriteOptions,
} from './keyspace-options.ts';
export { type CreateKeyspaceOptions, type KeyspaceDescription, Keyspaces } from './keyspaces.ts';
export type { ConnectOptions, LoginOptions, TlsOptions } from './options.ts';
export type { PartitionArc } from './partition-table.ts';
export type { Random } from './random.ts';
export { type Reason, type ReasonInfo, REASONS, type RetryRule, type StatusName } from './reasons.ts';
export { type CampaignOptions, Election, Leader } from './session/election.ts';
export { HeldLock } from './session/held-lock.ts';
export { Leadership } from './session/leadership.ts';
export { Lease } from './session/lease.ts';
export type { LeaseDescription } from './session/lease-description.ts';
export { type LeaseOptions, Leases, type LeaseSummary } from './session/leases.ts';
export type {
  AcquireOptions,
  LockDescription,
  LockHolder,
  LockMode,
  LockOptions,
  LockSummary,
} from './session/lock-options.ts';
export { Locks } from './session/locks.ts';
export { Registration, type ServiceInstance, Services, ServiceWatch } from './session/services.ts';
export { Scan } from './scan.ts';
export type { TransactionOperationResult, TransactionResult } from './transaction.ts';
export type { StreamConnection, StreamEvents, StreamMethod, Transport } from './transport.ts';
export type { JsonValue, Key, Value } from './values.ts';
