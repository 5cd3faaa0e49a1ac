/**
 * The stable reasons of errors, and for each the gRPC status it travels with and when
 * the same call may be sent again. This table is the only place where that is decided:
 * the node picks codes from it, the client its retries. A reason is never renamed and
 * never given another meaning; new ones are added.
 *
 * Retry rules:
 *  - `never`: the same call would fail again, or sending it again could apply it twice.
 *  - `safe`: the node says that it did nothing; any call may be sent again.
 *  - `with-sequence`: what became of the call is not known; reads may be sent again, and
 *    writes that carry a Sequence, because a repeat is answered with the first result.
 *
 * `decidedByStateMachine` marks what only the replicated state machine says, after it has
 * looked the write's sequence up and not found it applied. Every other refusal may come
 * from the door of a node that knows nothing of an earlier attempt of the same write, so
 * it says nothing about that one.
 */

/** gRPC status codes by name. */
export const StatusCode = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** Name of a gRPC status code, such as `ABORTED`. */
export type StatusName = keyof typeof StatusCode;

/** When the same call may be sent again; see the head of this file. */
export type RetryRule = 'never' | 'safe' | 'with-sequence';

/** What a reason means. */
export interface ReasonInfo {
  /** gRPC status number. */
  readonly code: number;
  /** When the same call may be sent again. */
  readonly retry: RetryRule;
  /** Whether it settles what became of earlier attempts as well; see the head of this file. */
  readonly decidedByStateMachine: boolean;
  /** What happened, and why the retry rule is what it is. */
  readonly description: string;
}

const S = StatusCode;

function never(code: number, description: string): ReasonInfo {
  return { code, retry: 'never', decidedByStateMachine: false, description };
}
function decided(code: number, description: string): ReasonInfo {
  return { code, retry: 'never', decidedByStateMachine: true, description };
}
function safe(code: number, description: string): ReasonInfo {
  return { code, retry: 'safe', decidedByStateMachine: false, description };
}
function withSequence(code: number, description: string): ReasonInfo {
  return { code, retry: 'with-sequence', decidedByStateMachine: false, description };
}

/** Every reason. */
export const REASONS = {
  INVALID_FIELD: never(S.INVALID_ARGUMENT, 'A field has a value that is not allowed; it stays wrong.'),
  KEY_EMPTY: never(S.INVALID_ARGUMENT, 'A key has no bytes; it stays wrong.'),
  KEY_TOO_LARGE: never(S.INVALID_ARGUMENT, 'A key is over the limit of its keyspace; it stays so.'),
  VALUE_TOO_LARGE: never(S.INVALID_ARGUMENT, 'A value is over the limit of its keyspace; it stays so.'),
  BATCH_TOO_LARGE: never(S.INVALID_ARGUMENT, 'A batch has too many items or bytes; send smaller ones.'),
  BATCH_EMPTY: never(S.INVALID_ARGUMENT, 'A batch has no item; it stays wrong.'),
  TTL_OUT_OF_RANGE: never(
    S.INVALID_ARGUMENT,
    'A time to live is not 1 ms to ten years, or of a lease 1 s to 24 h; it stays wrong.',
  ),
  RANGE_INVERTED: never(S.INVALID_ARGUMENT, 'The end of a range is not after its start; it stays wrong.'),
  KEYSPACE_UNKNOWN: never(S.NOT_FOUND, 'No keyspace has this name; somebody has to create it first.'),
  KEYSPACE_NAME_INVALID: never(S.INVALID_ARGUMENT, 'A keyspace name is not [a-z0-9._-]{1,64}.'),
  KEYSPACE_EXISTS: never(S.ALREADY_EXISTS, 'A keyspace has this name already; it stays so until dropped.'),
  TOPIC_NAME_INVALID: never(S.INVALID_ARGUMENT, 'A topic name is not [a-z0-9._-]{1,64}.'),
  GROUP_UNKNOWN: never(S.NOT_FOUND, 'No consumer group has this name.'),
  GROUP_MEMBER_UNKNOWN: never(S.NOT_FOUND, 'The group has no such member (any more); it joins again.'),
  GROUP_MEMBER_FENCED: never(S.FAILED_PRECONDITION, 'Another member has come under the same instance id.'),
  GROUP_STRATEGY_MISMATCH: never(
    S.FAILED_PRECONDITION,
    'The members of the group share partitions in another way.',
  ),
  GROUP_FULL: never(S.RESOURCE_EXHAUSTED, 'The group has as many members as it can have; one has to leave.'),
  GROUP_NOT_EMPTY: never(S.FAILED_PRECONDITION, 'The group has members; they have to leave first.'),
  GENERATION_FENCED: never(S.FAILED_PRECONDITION, 'The partition was given to another member of the group.'),
  MEMBER_UNKNOWN: never(S.NOT_FOUND, 'No member of the cluster has this name.'),
  MEMBER_EXISTS: never(S.ALREADY_EXISTS, 'A member of the cluster has this name, or this node is one.'),
  MEMBER_CHANGE_RUNNING: never(
    S.FAILED_PRECONDITION,
    'Members change one at a time, and a change is being carried through; that takes minutes, not a call.',
  ),
  MEMBER_CHANGE_REFUSED: never(
    S.FAILED_PRECONDITION,
    'The members cannot be changed so as things are; the message says what has to be done first.',
  ),
  KEYSPACE_RESTORING: never(
    S.FAILED_PRECONDITION,
    'The keyspace is being filled from a backup, which takes longer than a call; or that was given up, and it is to be dropped.',
  ),
  RESTORE_ENDED: never(
    S.FAILED_PRECONDITION,
    'The keyspace is not being restored, or by another restore; rows of a backup are put into no other.',
  ),
  MODE_UNSUPPORTED: never(S.UNIMPLEMENTED, 'The keyspace mode, or the operation in it, is not served.'),
  NOT_A_COUNTER: decided(
    S.FAILED_PRECONDITION,
    'The value is not a 64-bit decimal integer; a repeat finds it so.',
  ),
  COUNTER_OVERFLOW: decided(
    S.OUT_OF_RANGE,
    'The sum leaves the range of 64-bit integers; nothing was added.',
  ),
  COMPARISON_MISSING: never(S.INVALID_ARGUMENT, 'A compare-and-set or comparison says not what to compare.'),
  OPERATION_MISSING: never(S.INVALID_ARGUMENT, 'A mutation, call or operation says not what to do.'),
  DUPLICATE_KEY: never(S.INVALID_ARGUMENT, 'A transaction writes one key twice; it stays wrong.'),
  CROSS_PARTITION: never(S.INVALID_ARGUMENT, 'The keys of a transaction lie in several partitions.'),
  VERSION_MISMATCH: decided(
    S.ABORTED,
    'The key has another version; the caller must decide on what is there now.',
  ),
  VALUE_MISMATCH: decided(
    S.ABORTED,
    'The key has another value; the caller must decide on what is there now.',
  ),
  KEY_EXISTS: decided(
    S.ALREADY_EXISTS,
    'The key to create exists; the caller must decide on what is there now.',
  ),
  FENCED: decided(
    S.FAILED_PRECONDITION,
    'A later holder of the lock has written; this one must stop for good.',
  ),
  CLIENT_EXPIRED: never(
    S.FAILED_PRECONDITION,
    'The partition does not know this client (any more), so it cannot tell a repeat from a first write: ' +
      'outcome unknown. A client that sent the write only once may send it again as opening.',
  ),
  SEQUENCE_STALE: never(
    S.FAILED_PRECONDITION,
    'The sequence is below acked_below: the client said it had the answer, so the result is not kept.',
  ),
  RESULT_NOT_KEPT: never(
    S.FAILED_PRECONDITION,
    'A repeat of a write that was applied once; its result was too large to keep. Read to see it.',
  ),
  KEY_RESERVED: never(
    S.INVALID_ARGUMENT,
    "A key of the configuration begins with `/holdfast/`, which is the cluster's own; it stays so.",
  ),
  REVISION_COMPACTED: never(S.OUT_OF_RANGE, 'History before a compaction is gone; it does not come back.'),
  REVISION_FUTURE: never(S.OUT_OF_RANGE, 'The revision is greater than that of the tree.'),
  REVISION_MISMATCH: decided(
    S.ABORTED,
    'The key was last changed at another revision; the caller must decide on what is there now.',
  ),
  KEY_UNKNOWN: decided(S.NOT_FOUND, 'A put that keeps value or lease needs a key that exists.'),
  QUOTA_REACHED: never(
    S.RESOURCE_EXHAUSTED,
    'The configuration is as large as its quota; reads, deletes and compaction go on. Space returns by those, not within a call.',
  ),
  RANGE_TOO_LARGE: never(
    S.RESOURCE_EXHAUSTED,
    'More entries would have to be looked at than one call may; it stays so.',
  ),
  ANSWER_TOO_LARGE: never(
    S.RESOURCE_EXHAUSTED,
    'The answer would be larger than a message may be; it stays so.',
  ),
  TRANSACTION_TOO_DEEP: never(
    S.INVALID_ARGUMENT,
    'Transactions within transactions go too deep; it stays so.',
  ),
  WATCH_TOO_SLOW: never(
    S.RESOURCE_EXHAUSTED,
    'The reader of a watch took its answers too slowly; the answer says where to go on.',
  ),
  WATCH_ID_IN_USE: never(S.INVALID_ARGUMENT, 'The number of a new watch is in use on its stream.'),
  WATCHES_TOO_MANY: never(
    S.RESOURCE_EXHAUSTED,
    'The stream has as many watches as it may; it stays so until some end.',
  ),
  LEASE_UNKNOWN: decided(S.NOT_FOUND, 'There is no such lease (any more); its number is not used again.'),
  LEASE_EXISTS: decided(
    S.ALREADY_EXISTS,
    'The number for a new lease is taken; it stays so while that one lives.',
  ),
  LEASE_FULL: decided(
    S.RESOURCE_EXHAUSTED,
    'As much hangs on the lease as may; it stays so until some is taken off.',
  ),
  LEASES_TOO_MANY: decided(
    S.RESOURCE_EXHAUSTED,
    'There are as many leases as may be; it stays so until some end.',
  ),
  LEASE_LOST: never(
    S.FAILED_PRECONDITION,
    'Made by the client itself: the lease could not be kept alive in time, so it may have ended.',
  ),
  SESSION_EXPIRED: decided(S.NOT_FOUND, 'The session has ended, and its locks and candidacies with it.'),
  LOCK_NAME_INVALID: never(
    S.INVALID_ARGUMENT,
    'The name of a lock or an election is not 1 to 256 bytes of UTF-8.',
  ),
  LOCK_HELD: decided(S.FAILED_PRECONDITION, 'Others hold the lock, and the caller would not wait.'),
  LOCK_TIMED_OUT: never(
    S.DEADLINE_EXCEEDED,
    'The lock was not got within the time to wait; the place in the queue was given up.',
  ),
  LOCK_NOT_HELD: decided(
    S.FAILED_PRECONDITION,
    'The session does not hold the lock by this token; nothing was released.',
  ),
  LOCK_MODE_MISMATCH: decided(
    S.FAILED_PRECONDITION,
    'The session has the lock in another mode, or it is a semaphore with other permits.',
  ),
  LOCK_QUEUE_FULL: decided(S.RESOURCE_EXHAUSTED, 'As many wait as may.'),
  LOCK_LOST: never(
    S.FAILED_PRECONDITION,
    'Made by the client itself: the session could not be kept alive, so others may hold the lock by now.',
  ),
  NOT_ELECTED: decided(S.FAILED_PRECONDITION, 'The session does not lead the election by this token.'),
  ELECTION_TIMED_OUT: never(
    S.DEADLINE_EXCEEDED,
    'The candidate was not elected within the time to wait; the candidacy was given up.',
  ),
  COUNT_OUT_OF_RANGE: never(S.INVALID_ARGUMENT, 'More, or fewer, are asked for than one call may.'),
  ID_INVALID: never(S.INVALID_ARGUMENT, 'The number is no ID; it stays so.'),
  ID_WORKER_UNAVAILABLE: safe(
    S.UNAVAILABLE,
    'The node has no worker number, or cannot have its time extended, so it makes no IDs: another node may.',
  ),
  CLOCK_BEHIND: safe(
    S.UNAVAILABLE,
    "The node's clock was set back further than is worth waiting for: another node may serve.",
  ),
  SEQUENCE_NAME_INVALID: never(S.INVALID_ARGUMENT, 'The name of a sequence is not [a-z0-9._-]{1,64}.'),
  SEQUENCE_EXHAUSTED: decided(S.OUT_OF_RANGE, 'The sequence has no such many numbers left below 2^53.'),
  CONTINUATION_INVALID: never(S.INVALID_ARGUMENT, 'The token is not one of this scan; start the scan again.'),
  MESSAGE_MALFORMED: never(S.INVALID_ARGUMENT, 'The bytes are not the expected message; they stay so.'),
  MESSAGE_TOO_LARGE: never(S.RESOURCE_EXHAUSTED, 'A message is over 16 MiB; it stays so.'),
  DISK_LOW: never(
    S.RESOURCE_EXHAUSTED,
    'Too little disk space for writes that grow data; nothing was written. Space returns in minutes, not ' +
      'within a call, so retrying would only add load. Reads and deletes go on.',
  ),
  OVERLOADED: safe(
    S.RESOURCE_EXHAUSTED,
    'A bounded queue is full and the call was not taken: wait, then repeat.',
  ),
  DEADLINE_EXCEEDED: never(
    S.DEADLINE_EXCEEDED,
    'The time of the call is over, so there is none to try again.',
  ),
  CANCELLED: never(S.CANCELLED, 'The caller gave up.'),
  SHUTTING_DOWN: safe(S.UNAVAILABLE, 'The node is stopping and did not take the call: another node may.'),
  STARTING: safe(
    S.UNAVAILABLE,
    'The node is recovering its data and did not take the call: wait, then repeat.',
  ),
  UNAVAILABLE: withSequence(
    S.UNAVAILABLE,
    'The node could not be reached, or the connection broke with the call on its way, perhaps executed.',
  ),
  NOT_LEADER: withSequence(
    S.UNAVAILABLE,
    'The node does not lead the partition, or has stopped leading with the write on its way: the error names ' +
      'the leader, where one is known. Ask there.',
  ),
  NO_LEADER: withSequence(
    S.UNAVAILABLE,
    'For seconds nobody has led the partition: too few of its nodes are up, or they do not reach each other. ' +
      'Another node may see more of them; when all have said so, only time helps.',
  ),
  NODE_DAMAGED: withSequence(
    S.UNAVAILABLE,
    'The data of this node is damaged or lost, and others can serve in its place: ask them. An operator must act.',
  ),
  STORAGE_DAMAGED: never(S.DATA_LOSS, 'Stored data failed its checksum; an operator must act.'),
  UNIMPLEMENTED: never(S.UNIMPLEMENTED, 'The node does not know the method; an older node stays so.'),
  INTERNAL: never(S.INTERNAL, 'A defect of the program; what it did is not known, a repeat may do it again.'),
  UNAUTHENTICATED: never(S.UNAUTHENTICATED, 'The credentials are missing or wrong; they stay so.'),
  PERMISSION_DENIED: never(S.PERMISSION_DENIED, 'The principal may not do this.'),
  TOKEN_INVALID: never(
    S.UNAUTHENTICATED,
    'The token is none of this cluster, has expired, or its user has another password by now: log in again.',
  ),
  LOGIN_FAILED: never(
    S.UNAUTHENTICATED,
    'No user of this name has this password; whether there is such a user is not said.',
  ),
  LOGIN_DELAYED: safe(
    S.RESOURCE_EXHAUSTED,
    'After failed attempts, logins of the user or from the address are slowed down: wait, then repeat.',
  ),
  AUTH_NOT_ENABLED: decided(
    S.FAILED_PRECONDITION,
    'Permissions are not asked for, so there is nothing to log in to.',
  ),
  AUTH_ROOT_MISSING: decided(
    S.FAILED_PRECONDITION,
    'Permissions cannot be asked for before the user root has a password and the role root.',
  ),
  AUTH_PROTECTED: decided(
    S.INVALID_ARGUMENT,
    'While permissions are asked for, the user and the role root stay, and belong together.',
  ),
  AUTH_NAME_INVALID: never(S.INVALID_ARGUMENT, 'The name of a user or role is not 1 to 256 bytes of UTF-8.'),
  AUTH_FULL: decided(S.RESOURCE_EXHAUSTED, 'Users and roles take as many bytes as they may.'),
  AUTH_REVISION_OLD: safe(
    S.ABORTED,
    'Permissions changed again and again while the call was on its way, and nothing was done: repeat.',
  ),
  USER_UNKNOWN: decided(S.NOT_FOUND, 'There is no user of this name.'),
  USER_EXISTS: decided(S.ALREADY_EXISTS, 'There is a user of this name.'),
  ROLE_UNKNOWN: decided(S.NOT_FOUND, 'There is no role of this name.'),
  ROLE_EXISTS: decided(S.ALREADY_EXISTS, 'There is a role of this name.'),
  ROLE_NOT_GRANTED: decided(S.FAILED_PRECONDITION, 'The user does not have the role.'),
  PERMISSION_NOT_GRANTED: decided(S.FAILED_PRECONDITION, 'The role has no permission on exactly this range.'),
  TOPIC_EXISTS: never(S.ALREADY_EXISTS, 'A topic has this name already; it stays so until it is deleted.'),
  TOPIC_UNKNOWN: never(S.NOT_FOUND, 'No topic has this name; somebody has to create it first.'),
  PARTITION_UNKNOWN: never(S.NOT_FOUND, 'The topic has no partition of this number.'),
  RECORD_TOO_LARGE: never(
    S.INVALID_ARGUMENT,
    'A record does not fit into a batch of its topic; it stays so.',
  ),
  BATCH_CORRUPT: never(
    S.INVALID_ARGUMENT,
    'The bytes are no batch of records, or its checksum does not hold; they stay so.',
  ),
  COMPRESSION_UNKNOWN: never(
    S.INVALID_ARGUMENT,
    'A batch is compressed in a way that is not known, or not to this runtime; it stays so.',
  ),
  PRODUCER_FENCED: never(
    S.FAILED_PRECONDITION,
    'A producer with a greater epoch has taken over; this one must stop for good.',
  ),
  SEQUENCE_GAP: never(
    S.FAILED_PRECONDITION,
    'A batch does not follow the last one of its producer that the partition has: those before it come first.',
  ),
  OFFSET_OUT_OF_RANGE: never(
    S.OUT_OF_RANGE,
    'The offset is before the first record that is kept, or behind the end; the reader must decide where to go on.',
  ),
  RECORDS_UNREADABLE: never(
    S.FAILED_PRECONDITION,
    'The records of a batch cannot be decompressed, or are not sound: so they were produced, and so they stay.',
  ),
  TLS_FAILED: never(
    S.UNAVAILABLE,
    'Made by the client itself: it and the node do not agree on TLS, so nothing was sent; somebody must act.',
  ),
  CLIENT_CLOSED: never(S.CANCELLED, 'Made by the client itself: close() was called before the answer came.'),
} as const satisfies Record<string, ReasonInfo>;

/** A known reason. */
export type Reason = keyof typeof REASONS;

/** What a reason means; undefined for one that only a newer node knows. */
export function reasonInfo(reason: string): ReasonInfo | undefined {
  return Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason] : undefined;
}

const NAMES = new Map<number, StatusName>(
  Object.entries(StatusCode).map(([name, code]) => [code, name as StatusName]),
);

/** Name of a gRPC status number; UNKNOWN for numbers that gRPC does not define. */
export function statusName(code: number): StatusName {
  return NAMES.get(code) ?? 'UNKNOWN';
}
