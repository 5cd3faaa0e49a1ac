/**
 * The keyspaces of the cluster as this node knows them: descriptors under
 * `/holdfast/keyspaces/` in the coordination tree, and for each partition its group.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { HoldfastError } from '@holdfast/client/error';
import { PartitionTable, partitionArcs } from '@holdfast/client/partition-table';
import type { Clock } from '@holdfast/client/clock';
import { KeyspaceMode, KeyspaceSchema, type Keyspace } from '@holdfast/proto/kv/v1/keyspace';
import type { ClusterTree } from '../cluster/cluster-tree.ts';
import { placementKey, type GroupPlacements } from '../cluster/group-placements.ts';
import { MEMBER_TABLE } from '../cluster/cluster-members.ts';
import { NEXT_GROUP, checkGroupCount, compared, counter } from '../cluster/group-numbers.ts';
import type { GroupPlace } from '../cluster/group-routes.ts';
import { targetOf, type FirstPlacement } from '../cluster/placed-groups.ts';
import { placeReplicas } from '../cluster/placement.ts';
import type { GroupHost } from '../raft/group-host.ts';
import type { GroupReplica } from '../raft/group-replica.ts';
import { COORDINATION_GROUP, type Member } from '../raft/members.ts';
import { groupPrefix, prefixEnd } from '../storage/row-key.ts';
import type { RowStore } from '../storage/row-store.ts';
import { awaitRead } from '../raft/propose.ts';
import { KvRowKeys } from './kv-rows.ts';
import { KvStateMachine } from './kv-state-machine.ts';
import { checkKeyspaceName, refuse, type KeyspaceLimits } from './limits.ts';

const PREFIX = '/holdfast/keyspaces/';
/** Names of keyspaces that were dropped: their versions are not used again. */
const DROPPED = '/holdfast/dropped-keyspaces/';
const NEXT_KEYSPACE = '/holdfast/keyspace-ids/next';
/** Who holds the partitions of descriptors that were written when there was one node. */
const FIRST_NODE: readonly number[] = [1];
const ATTEMPTS = 20;
/** No partition gives out more versions in a millisecond, so what an earlier keyspace used lies below. */
const VERSIONS_PER_MS = 1_024n;

/** More revisions than a cluster gives out between a backup and its end: tokens from that time stay below. */
const REVISIONS_SINCE_BACKUP = 2 ** 40;
/** As many versions, where the clock says less than the backup. */
const VERSIONS_SINCE_BACKUP = 2n ** 40n;

/** One partition, with its replica where this node has one. */
export class Partition implements GroupPlace {
  readonly group: number;
  /** First hash of its arc. */
  readonly arc: number;
  /** Copies that it is to have. */
  readonly replication: number;
  /** Who it was created with: the voters that its log begins with. */
  readonly firstReplicas: readonly number[];
  /** Who votes in it, by what was heard last. */
  replicas: readonly number[];
  replica: GroupReplica<KvStateMachine> | undefined;
  /** The replica here only follows, or was taken out: it may lag far behind, and serves nobody. */
  isAside = false;
  isGone = false;
  /** The names that rows have in the first generation of a replica. */
  readonly firstKeys: KvRowKeys;

  constructor(
    group: number,
    firstReplicas: readonly number[],
    { firstHash, replication }: { readonly firstHash: number; readonly replication: number },
  ) {
    this.group = group;
    this.arc = firstHash;
    this.replication = replication;
    this.firstReplicas = firstReplicas;
    this.replicas = firstReplicas;
    this.firstKeys = new KvRowKeys(group, 0);
  }

  /** Whether there is a replica here that may serve. */
  get isServed(): boolean {
    return this.replica !== undefined && !this.isAside;
  }

  /** Another one after a snapshot: not to be kept across an `await`. */
  get machine(): KvStateMachine | undefined {
    return this.replica?.machine;
  }
}

/** A keyspace in use. */
export interface OpenKeyspace extends KeyspaceLimits {
  readonly descriptor: Keyspace;
  readonly partitions: readonly Partition[];
  /** The partition that keeps a key. */
  partitionOf(key: Uint8Array): Partition;
}

/** What a new keyspace is to be. */
export interface KeyspaceSettings {
  readonly name: string;
  readonly partitions: number;
  /** Copies of each partition; fewer where the cluster has fewer nodes. */
  readonly replication: number;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
}

/** What a restore knows of where its keyspace comes from. */
export interface RestoreOrigin {
  /** Names the restore; 16 bytes. */
  readonly id: Uint8Array;
  /** The greatest version that the backup's keyspace had given out. */
  readonly lastVersion: bigint;
  /** The revision of the tree that the backup's cluster had. */
  readonly treeRevision: number;
}

export interface KeyspacesOptions {
  readonly tree: ClusterTree;
  /** Undefined: replicas stay where they are. */
  readonly placements?: GroupPlacements;
  /** Groups that are not of keyspaces, with where they are; default: none. */
  readonly others?: () => readonly FirstPlacement[];
  /** The nodes that may hold replicas of new partitions; default: all. */
  readonly eligible?: () => readonly Member[];
  readonly host: GroupHost;
  readonly rows: RowStore;
  readonly clock: Clock;
  /** Rows of a dropped keyspace could not be removed. */
  readonly onRemoveFailure: (error: Error) => void;
}

export class Keyspaces {
  readonly #options: KeyspacesOptions;
  readonly #open = new Map<string, OpenKeyspace>();
  readonly #byGroup = new Map<number, { readonly keyspace: Keyspace; readonly partition: Partition }>();
  #removing: Promise<void> = Promise.resolve();
  /** Changes of the tree that were told. */
  #changes = 0;
  /** Times that the tree is being read. */
  #readings = 0;
  #reading: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(options: KeyspacesOptions) {
    this.#options = options;
  }

  /** Opens all keyspaces of the tree, replaying their logs, and follows changes. */
  static async open(options: KeyspacesOptions): Promise<Keyspaces> {
    const keyspaces = new Keyspaces(options);
    options.tree.watch({
      prefix: PREFIX,
      onChange: ({ key, value }) => keyspaces.#change(key.slice(PREFIX.length), value),
      onReplaced: () => keyspaces.#follow(),
    });
    options.placements?.follow((group) => keyspaces.#notePlacement(group));
    // Whoever was made a member of a group later hears of it from the others.
    options.host.onUnknownGroup.push((group) => keyspaces.#openReplica(group));
    await keyspaces.#read();
    return keyspaces;
  }

  /** All groups are known: rows that belong to none of them, or to none of their generations, go. */
  removeOrphans(): void {
    this.#removing = this.#removing
      .then(() => this.#options.host.removeOrphans(() => this.#stopped))
      .catch((error: unknown) => this.#options.onRemoveFailure(error as Error));
  }

  /** All keyspaces, by name. */
  list(): OpenKeyspace[] {
    return [...this.#open.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** A keyspace. Errors: KEYSPACE_NAME_INVALID, KEYSPACE_UNKNOWN. */
  get(name: string, field = 'keyspace'): OpenKeyspace {
    const keyspace = this.#open.get(name);
    if (keyspace !== undefined) return keyspace;
    checkKeyspaceName(name, field);
    throw unknownKeyspace(name, field);
  }

  /**
   * A keyspace that takes reads and writes. At once when it is known here; that one is not
   * known, or being restored, is said only after the leader has confirmed that this node is up
   * to date. Errors: as `get`, KEYSPACE_RESTORING, NOT_LEADER.
   */
  find(name: string, field = 'keyspace'): OpenKeyspace | Promise<OpenKeyspace> {
    const { host } = this.#options;
    const known = this.#open.get(name);
    if (known !== undefined && !known.descriptor.restoring) return known;
    if (host.canReadNow(COORDINATION_GROUP)) return whole(this.get(name, field), field);
    checkKeyspaceName(name, field);
    return this.catchUp().then(() => whole(this.get(name, field), field));
  }

  /** A keyspace, one that is being restored too. Errors: as `get`, NOT_LEADER. */
  async findAny(name: string, field = 'keyspace'): Promise<OpenKeyspace> {
    if (!this.#open.has(name)) await this.catchUp();
    return this.get(name, field);
  }

  /** Resolves when every keyspace created before this call is known here. Error: NOT_LEADER. */
  async catchUp(): Promise<void> {
    const { host } = this.#options;
    if (!host.canReadNow(COORDINATION_GROUP)) await awaitRead(host, COORDINATION_GROUP);
    await this.#reading;
  }

  /** The partitions of all keyspaces. */
  partitions(): Partition[] {
    return [...this.#byGroup.values()].map(({ partition }) => partition);
  }

  /** The coordination tree's revision as applied here. */
  get treeRevision(): number {
    return this.#options.tree.revision;
  }

  /** The partition that a group is. */
  partition(group: number): Partition | undefined {
    return this.#byGroup.get(group)?.partition;
  }

  /** Name of the keyspace that a group belongs to. */
  nameOf(group: number): string {
    return this.#byGroup.get(group)?.keyspace.name ?? '';
  }

  /**
   * Creates a keyspace; resolves when it takes requests. `anywhere`: whichever node leads
   * group 0; else this one has to. Errors: KEYSPACE_EXISTS, NOT_LEADER.
   */
  create(settings: KeyspaceSettings, anywhere = false): Promise<Keyspace> {
    return this.#create(settings, undefined, anywhere);
  }

  /**
   * Creates a keyspace that is being restored, or gives the one that this restore has created.
   * Revisions of the tree that are given out from now on are above what the backup's cluster
   * had, and may have had since. Errors: as `create`.
   */
  async beginRestore(
    settings: KeyspaceSettings,
    origin: RestoreOrigin,
    anywhere: boolean,
  ): Promise<Keyspace> {
    const { tree } = this.#options;
    const leastRevision = origin.treeRevision + REVISIONS_SINCE_BACKUP;
    await this.#catchUpForWrite();
    if (tree.revision < leastRevision) await tree.raiseRevision(leastRevision, anywhere);
    return this.#create(settings, origin, anywhere);
  }

  /**
   * A keyspace that was restored takes reads and writes from now on; its partitions must take
   * no more rows of the backup. Errors: KEYSPACE_UNKNOWN, NOT_LEADER.
   */
  async completeRestore({ name, descriptor: { id } }: OpenKeyspace, anywhere: boolean): Promise<Keyspace> {
    return this.#attempt(async () => {
      await this.#catchUpForWrite();
      const { descriptor } = this.get(name);
      if (descriptor.id !== id) throw unknownKeyspace(name, 'keyspace');
      if (!descriptor.restoring) return descriptor;
      const key = PREFIX + name;
      const comparisons = [{ key, modRevision: this.#options.tree.get(key)?.modRevision ?? 0 }];
      const completed: Keyspace = { ...descriptor, restoring: false };
      const changes = [{ key, value: toBinary(KeyspaceSchema, completed) }];
      const { succeeded } = await this.#options.tree.transact({ comparisons, changes }, anywhere);
      return succeeded ? completed : undefined;
    });
  }

  async #create(
    settings: KeyspaceSettings,
    origin: RestoreOrigin | undefined,
    anywhere: boolean,
  ): Promise<Keyspace> {
    checkKeyspaceName(settings.name, 'name');
    return this.#attempt(async () => {
      await this.#catchUpForWrite();
      const { tree, clock } = this.#options;
      const known = this.#open.get(settings.name);
      if (known !== undefined && isMadeBy(known.descriptor, origin)) return known.descriptor;
      if (known !== undefined) throw keyspaceExists(known.descriptor);
      this.#checkGroups(settings.partitions);
      const group = counter(tree, NEXT_GROUP);
      const id = counter(tree, NEXT_KEYSPACE);
      const wasDropped = tree.get(DROPPED + settings.name) !== undefined;
      const descriptor = describe(settings, {
        firstGroup: group.next,
        id: id.next,
        nowMs: clock.wallMs(),
        wasDropped,
        origin,
        replicas: this.#placed(settings),
      });
      const key = PREFIX + settings.name;
      const transaction = {
        // Nobody is to get a replica who is about to leave.
        comparisons: [{ key, modRevision: 0 }, group.comparison, id.comparison, compared(tree, MEMBER_TABLE)],
        changes: [
          { key, value: toBinary(KeyspaceSchema, descriptor) },
          group.advance(settings.partitions),
          id.advance(1),
        ],
      };
      const { succeeded } = await tree.transact(transaction, anywhere);
      return succeeded ? descriptor : undefined;
    });
  }

  /** Drops a keyspace for good. `anywhere`: as for `create`. Errors: KEYSPACE_UNKNOWN, NOT_LEADER. */
  async drop(name: string, anywhere = false): Promise<void> {
    await this.#attempt(async () => {
      await this.#catchUpForWrite();
      this.get(name, 'name');
      const key = PREFIX + name;
      const node = this.#options.tree.get(key);
      const comparisons = [{ key, modRevision: node?.modRevision ?? 0 }];
      const placed = this.#open.get(name)?.partitions.map(({ group }) => placementKey(group)) ?? [];
      const changes = [
        { key, value: undefined },
        { key: DROPPED + name, value: Buffer.from('1') },
        ...placed
          .filter((one) => this.#options.tree.get(one) !== undefined)
          .map((one) => ({ key: one, value: undefined })),
      ];
      const { succeeded } = await this.#options.tree.transact({ comparisons, changes }, anywhere);
      return succeeded ? true : undefined;
    });
  }

  /** Resolves when the rows of dropped keyspaces are gone, or the removal under way was stopped. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#removing;
  }

  /** What a change elsewhere is compared with must be of now. Nothing was changed if that fails. */
  async #catchUpForWrite(): Promise<void> {
    try {
      await this.catchUp();
    } catch (error) {
      throw error instanceof HoldfastError ? error.withOutcome('NOT_APPLIED') : error;
    }
  }

  /** The tree was replaced as a whole. */
  #follow(): void {
    this.#changes++;
    const opened = this.#options.host.expectGroups();
    this.#reading = this.#read();
    this.#reading.then(opened).catch((error: unknown) => this.#options.onRemoveFailure(error as Error));
  }

  /** Opens and closes what differs from the tree. While it is read nothing is opened, for it may change. */
  async #read(): Promise<void> {
    this.#readings++;
    let nodes;
    let changes;
    do {
      changes = this.#changes;
      nodes = await this.#options.tree.list(PREFIX);
    } while (changes !== this.#changes);
    this.#readings--;
    const descriptors = nodes.map(({ value }) => fromBinary(KeyspaceSchema, value));
    const ids = new Map(descriptors.map(({ name, id }) => [name, id]));
    for (const { name, descriptor } of this.#open.values())
      if (ids.get(name) !== descriptor.id) this.#remove(name);
    for (const descriptor of descriptors) if (!this.#update(descriptor)) this.#add(descriptor);
  }

  #change(name: string, value: Uint8Array | undefined): void {
    this.#changes++;
    if (this.#readings > 0) return;
    const descriptor = value && fromBinary(KeyspaceSchema, value);
    if (descriptor !== undefined && this.#update(descriptor)) return;
    this.#remove(name);
    if (descriptor !== undefined) this.#add(descriptor);
  }

  /** False: it is another keyspace than the one that is open under its name, if any. */
  #update(descriptor: Keyspace): boolean {
    const known = this.#open.get(descriptor.name);
    if (known?.descriptor.id !== descriptor.id) return false;
    this.#open.set(descriptor.name, { ...known, descriptor });
    return true;
  }

  /** Repeats a compare-and-set that lost against another. */
  async #attempt<T>(change: () => Promise<T | undefined>): Promise<T> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const done = await change();
      if (done !== undefined) return done;
    }
    throw new HoldfastError({
      reason: 'OVERLOADED',
      message: 'too many keyspaces are being changed at once. Nothing was changed; try again.',
      outcome: 'NOT_APPLIED',
      retryAfterMs: 500,
    });
  }

  /** Where the partitions of a new keyspace go. */
  #placed({ partitions, replication }: KeyspaceSettings): number[][] {
    const { placements } = this.#options;
    const held = [...this.partitions(), ...(this.#options.others?.() ?? [])].map((partition) =>
      placements === undefined ? partition.firstReplicas : targetOf(partition, placements),
    );
    return placeReplicas({
      members: this.#options.eligible?.() ?? this.#options.host.members,
      arcs: partitionArcs(partitions).map(({ firstHash }) => firstHash),
      replication,
      held,
    });
  }

  #checkGroups(more: number): void {
    checkGroupCount(this.#byGroup.size + (this.#options.others?.().length ?? 0), more);
  }

  #add(descriptor: Keyspace): void {
    const { host } = this.#options;
    const table = new PartitionTable(descriptor.partitions);
    const firstReplicas = new Map(descriptor.partitions.map((arc) => [arc.group, arc.firstReplicas]));
    const partitions = table.arcs.map((arc): Partition => {
      const group = Number(arc.group);
      const recorded = firstReplicas.get(arc.group) ?? [];
      const { firstHash } = arc;
      const { replication } = descriptor;
      const first = recorded.length === 0 ? FIRST_NODE : recorded;
      const partition = new Partition(group, first, { firstHash, replication });
      this.#byGroup.set(group, { keyspace: descriptor, partition });
      if (first.includes(host.self) || host.hasRemains(group)) this.#openReplica(group);
      this.#notePlacement(group);
      return partition;
    });
    this.#open.set(descriptor.name, {
      name: descriptor.name,
      maxKeyBytes: descriptor.maxKeyBytes,
      maxValueBytes: descriptor.maxValueBytes,
      descriptor,
      partitions,
      partitionOf: partitions.length === 1 ? () => partitions[0]! : (key) => partitions[table.indexOf(key)]!,
    });
  }

  /** Opens the replica of a partition, with what is on the disk of it, if anything. */
  #openReplica(group: number): void {
    const { host, rows } = this.#options;
    const known = this.#byGroup.get(group);
    if (known === undefined || known.partition.replica !== undefined) return;
    const versionsAbove = Number(known.keyspace.versionsAbove);
    known.partition.replica = host.addGroup(
      group,
      known.partition.firstReplicas,
      (generation) => new KvStateMachine(group, generation, rows, versionsAbove),
    );
    this.#notePlacement(group);
  }

  /** Whether the replica here is of use, and who else has one. One that was taken out of its group waits for nobody. */
  #notePlacement(group: number): void {
    const { host, placements } = this.#options;
    const partition = this.#byGroup.get(group)?.partition;
    if (placements === undefined || partition === undefined) return;
    const { index, voters, learners, target } = placements.of(group);
    if (index === 0) return;
    partition.replicas = voters;
    partition.isAside = !voters.includes(host.self);
    const isWanted = [voters, learners, target].some((ids) => ids.includes(host.self));
    if (partition.replica === undefined) return;
    // One that has heard more than whoever said so may be needed: without it there may be no leader.
    partition.replica.isResting = !isWanted && index >= partition.replica.lastIndex;
    if (!isWanted) partition.replica.reads.fail(); // whoever waits is served elsewhere
  }

  #remove(name: string): void {
    const keyspace = this.#open.get(name);
    if (keyspace === undefined) return;
    this.#open.delete(name);
    for (const partition of keyspace.partitions) {
      const { group } = partition;
      partition.isGone = true;
      this.#options.host.removeGroup(group);
      this.#byGroup.delete(group);
      this.#removeRows(group);
    }
  }

  #removeRows(group: number): void {
    const prefix = groupPrefix(group, 0).slice(0, 8);
    this.#removing = this.#removing.then(async () => {
      if (this.#stopped) return;
      await this.#options.rows
        .removeRange(prefix, prefixEnd(prefix), () => this.#stopped)
        .catch((error: unknown) => {
          this.#options.onRemoveFailure(error as Error);
        });
    });
  }
}

/** Error: what is written at this key of the tree is no keyspace, and no node could apply it. */
export function checkDescriptor(key: string, value: Uint8Array | undefined): void {
  if (key.startsWith(PREFIX) && value !== undefined)
    void new PartitionTable(fromBinary(KeyspaceSchema, value).partitions);
}

/** What a new keyspace has besides what was asked for. */
interface Birth {
  readonly firstGroup: number;
  readonly id: number;
  readonly nowMs: number;
  readonly wasDropped: boolean;
  /** Of one that is being restored. */
  readonly origin: RestoreOrigin | undefined;
  /** Of each partition. */
  readonly replicas: readonly number[][];
}

function describe(settings: KeyspaceSettings, birth: Birth): Keyspace {
  const { firstGroup, id, nowMs, replicas, origin } = birth;
  return create(KeyspaceSchema, {
    name: settings.name,
    mode: KeyspaceMode.RAFT,
    partitions: partitionArcs(settings.partitions).map((arc, position) => ({
      ...arc,
      group: BigInt(firstGroup + position),
      firstReplicas: replicas[position]!,
    })),
    replication: settings.replication,
    maxKeyBytes: settings.maxKeyBytes,
    maxValueBytes: settings.maxValueBytes,
    id: BigInt(id),
    createdAtMs: BigInt(nowMs),
    versionsAbove: versionsAbove(birth),
    ...(origin !== undefined && { restoring: true, restoreId: origin.id as Uint8Array<ArrayBuffer> }),
  });
}

/** Where versions begin, so that none is given out that an earlier keyspace of the name has given out. */
function versionsAbove({ nowMs, wasDropped, origin }: Birth): bigint {
  const usedByNow = BigInt(nowMs) * VERSIONS_PER_MS;
  if (origin === undefined) return wasDropped ? usedByNow : 0n;
  // What was written after the backup has been given versions too.
  return usedByNow > origin.lastVersion ? usedByNow : origin.lastVersion + VERSIONS_SINCE_BACKUP;
}

function isMadeBy(descriptor: Keyspace, origin: RestoreOrigin | undefined): boolean {
  return origin !== undefined && Buffer.compare(descriptor.restoreId, origin.id) === 0;
}

function keyspaceExists({ name, restoring }: Keyspace): HoldfastError {
  const why = restoring
    ? 'is being restored. Nothing was changed. If that restore was given up, drop the keyspace first.'
    : 'exists. Nothing was changed.';
  return refuse('KEYSPACE_EXISTS', 'name', `keyspace "${name}" ${why}`, name);
}

function unknownKeyspace(name: string, field: string): HoldfastError {
  const message = `there is no keyspace "${name}". Nothing was done; create it first, or look at the list.`;
  return refuse('KEYSPACE_UNKNOWN', field, message, name);
}

/** Error: KEYSPACE_RESTORING. */
function whole(keyspace: OpenKeyspace, field: string): OpenKeyspace {
  if (!keyspace.descriptor.restoring) return keyspace;
  const message =
    `keyspace "${keyspace.name}" is being restored from a backup and is not whole. Nothing was done. ` +
    'Wait until the restore has ended; if it was given up, drop the keyspace and restore again.';
  throw refuse('KEYSPACE_RESTORING', field, message, keyspace.name);
}
