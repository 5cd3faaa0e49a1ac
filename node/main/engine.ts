/**
 * A node's engine: everything between the ports and the services, opened from a data
 * directory in the one order that is safe. Knows no network, so a simulation runs it
 * as it is.
 */
import type { PartitionLogs } from '../broker/partition-logs.ts';
import { Topics } from '../broker/topics.ts';
import { admission, type Admission } from '../cluster/admission.ts';
import { Forwarder, type ObserveForwarded } from '../cluster/forwarder.ts';
import { ClusterMembers } from '../cluster/cluster-members.ts';
import { GroupPlacements } from '../cluster/group-placements.ts';
import type { FirstPlacement } from '../cluster/placed-groups.ts';
import { GroupRoutes } from '../cluster/group-routes.ts';
import { LeaderCalls } from '../cluster/leader-calls.ts';
import { LeaderBalancer } from '../cluster/leader-balancer.ts';
import type { LeaderTransfer } from '../cluster/leader-transfer.ts';
import type { RebuildGrants } from '../cluster/rebuild-grants.ts';
import type { GossipDriver } from '../cluster/gossip-driver.ts';
import type { MemberChanges } from '../cluster/member-changes.ts';
import {
  addressOfMember,
  withMembership,
  type ClusterMember,
  type Membership,
} from '../cluster/membership.ts';
import { RemoteReads } from '../cluster/remote-reads.ts';
import { RemoteSaves } from '../cluster/remote-saves.ts';
import { SeenMembers } from '../cluster/seen-members.ts';
import { Upkeep } from '../cluster/upkeep.ts';
import { Auth, DEFAULT_AUTH } from '../coordination/auth.ts';
import { ConsumerGroups } from '../coordination/groups/consumer-groups.ts';
import { Configuration } from '../coordination/configuration.ts';
import { DEFAULT_QUOTA_BYTES } from '../coordination/config-limits.ts';
import { CoordinationUpkeep, DEFAULT_HISTORY } from '../coordination/coordination-upkeep.ts';
import { coordinatedSessions } from '../coordination/coordinated-sessions.ts';
import { Coordination } from '../coordination/coordination.ts';
import { DEFAULT_LEASE_CHECKPOINT_MS } from '../coordination/leases.ts';
import { Sequences } from '../coordination/sequences.ts';
import type { Sessions } from '../coordination/sessions.ts';
import { Ids } from '../ids/ids.ts';
import { KeyValue, type OtherNodes } from '../kv/key-value.ts';
import type { Transport } from '@holdfast/client/transport';
import { Keyspaces } from '../kv/keyspaces.ts';
import { Sweeper } from '../kv/sweeper.ts';
import { GroupHost, type FatalCause } from '../raft/group-host.ts';
import { RecoveredGroups } from '../raft/log-records.ts';
import type { Member } from '../raft/members.ts';
import { awaitRead } from '../raft/propose.ts';
import type { OrderedStore } from '../runtime/ordered-store.ts';
import { scrypt } from '../runtime/scrypt.ts';
import { IdentityError, claimDirectory, writeIdentity, type Identity } from '../storage/identity.ts';
import { RowStore, type FlushTimes } from '../storage/row-store.ts';
import { Scrubber } from '../storage/scrubber.ts';
import { SpaceGuard } from '../storage/space-guard.ts';
import { SpaceReclaimer } from '../storage/space-reclaimer.ts';
import { WriteAheadLog, type BatchTimes } from '../storage/write-ahead-log.ts';
import { DataDamaged } from './data-damaged.ts';
import { engineBroker, openPartitionLogs, type EngineBroker } from './engine-broker.ts';
import { startGossip } from './engine-gossip.ts';
import { aloneIn, membersOf } from './engine-members.ts';
import type { EngineOptions } from './engine-options.ts';
import { bootstrap, isBootstrapped, keepBootstrapping } from './founding.ts';

export { DataDamaged } from './data-damaged.ts';
export type { EngineObserver, EngineOptions } from './engine-options.ts';

const LOG_DIRECTORY = 'log';
/** What only a directory in use has. */
export const CONTENTS = [LOG_DIRECTORY, 'store', 'topics'] as const;

/** What recovery found and did. */
export interface Recovery {
  readonly durationMs: number;
  readonly replayedEntries: number;
  /** Bytes of an incomplete last write that were removed. */
  readonly tornBytes: number;
}

/** An open engine. */
export interface Engine {
  readonly identity: Identity;
  readonly log: WriteAheadLog;
  readonly rows: RowStore;
  readonly host: GroupHost;
  readonly members: ClusterMembers;
  /** Who seems alive; undefined: this node runs no gossip. */
  readonly gossip: GossipDriver | undefined;
  /** The members as this node sees them. */
  readonly seen: SeenMembers;
  readonly changes: MemberChanges;
  readonly transfer: LeaderTransfer;
  readonly rebuilds: RebuildGrants;
  readonly space: SpaceGuard;
  readonly coordination: Coordination;
  /** Users, roles and permissions. */
  readonly auth: Auth;
  /** Leases, locks and elections. */
  readonly sessions: Sessions;
  /** The users' keys. */
  readonly configuration: Configuration;
  readonly coordinationUpkeep: CoordinationUpkeep;
  readonly leaderCalls: LeaderCalls;
  readonly routes: GroupRoutes;
  /** Unique IDs. */
  readonly ids: Ids;
  readonly sequences: Sequences;
  readonly keyspaces: Keyspaces;
  readonly kv: KeyValue;
  /** Topics of messages. */
  readonly topics: Topics;
  readonly broker: EngineBroker['broker'];
  readonly producers: EngineBroker['producers'];
  /** Consumer groups. */
  readonly groups: ConsumerGroups;
  /** Files of partitions of topics. */
  readonly partitionLogs: PartitionLogs;
  /** Reads by other nodes, and how calls reach them; undefined: there are none. */
  readonly reads: RemoteReads | undefined;
  readonly forwarding: Transport | undefined;
  /** Copies of partitions by other nodes; undefined: there are none. */
  readonly saves: RemoteSaves | undefined;
  readonly admission: Admission;
  /** Bytes of writes that wait for another node. */
  readonly forwardedBytes: () => number;
  readonly scrubber: Scrubber;
  readonly recovery: Recovery;
  /** Whether everything that the log had at the start is applied, and the cluster has its first keyspace. */
  isReady(): boolean;
  /** Before a stop: tells the others of it, and hands them what is led here; calls are served meanwhile. */
  handOver(): Promise<void>;
  /** Finishes what was taken, writes the overlay to the store and closes everything. */
  stop(): Promise<void>;
}

/** Opens a data directory, a new one too. Errors: DataDamaged, IdentityError, those of the disk. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const startedMs = options.clock.monotonicMs();
  const { disk, random, nodeName } = options;
  const identity = await claimDirectory(disk, random, nodeName, CONTENTS);
  const problems = await options.verifyStore();
  if (problems.length > 0) throw new DataDamaged(problems);
  const store = await openStore(options);
  const assembly = new EngineAssembly(options, identity, store, startedMs);
  try {
    return await assembly.open();
  } catch (caught) {
    const error = assembly.fatal ?? caught;
    await assembly.abandon();
    if (error instanceof Error && error.name === 'StoreDamaged') throw new DataDamaged([error.message]);
    throw error;
  }
}

async function openStore(options: EngineOptions): Promise<OrderedStore> {
  try {
    return await options.openStore();
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    if (code === 'LEVEL_CORRUPTION') throw new DataDamaged([message]);
    throw error;
  }
}

class EngineAssembly {
  readonly #options: EngineOptions;
  #identity: Identity;
  #saving: Promise<void> = Promise.resolve();
  /** What stopped the host. */
  #fatal: Error | undefined;
  readonly #store: OrderedStore;
  readonly #startedMs: number;
  #log: WriteAheadLog | undefined;
  #host: GroupHost | undefined;
  #stopBootstrap: () => void = () => undefined;
  #gossip: GossipDriver | undefined;
  readonly #membership: Membership;

  constructor(options: EngineOptions, identity: Identity, store: OrderedStore, startedMs: number) {
    this.#options = options;
    this.#identity = identity;
    this.#store = store;
    this.#startedMs = startedMs;
    this.#membership = options.membership ?? aloneIn(identity);
  }

  async open(): Promise<Engine> {
    const { clock, random, disk, minFreeBytes, onSpaceChange, forwarding } = this.#options;
    const { log, recovered, tornBytes } = await this.#openLog();
    const onFilesFailed = (cause: FatalCause, error: Error) => this.#host?.stopServing(cause, error);
    const logs = openPartitionLogs(disk, clock, onFilesFailed);
    const rows = this.#openRows(log, logs);
    this.#compareMarks(log, rows);
    const host = this.#openHost(log, rows, recovered);
    let space: SpaceGuard | undefined;
    const admit = admission(host, () => space);
    const stateOf = (member: Member) => this.#gossip?.stateOf(member);
    const routes = new GroupRoutes(host, clock, this.#options.gossip && stateOf);
    const others = this.#others(host, routes, admit);
    const { founders } = this.#membership;
    const coordination = new Coordination(host, rows, clock, founders, others?.forwarder, admit);
    const sessions = coordinatedSessions(coordination, clock, random, this.#leaseCheckpointMs);
    const consumerGroups = new ConsumerGroups(coordination, clock);
    const configuration = new Configuration(
      coordination,
      clock,
      this.#options.quotaBytes ?? DEFAULT_QUOTA_BYTES,
    );
    const auth = this.#createAuth(coordination);
    const members = this.#followMembers(coordination, host);
    const placements = await GroupPlacements.open(coordination);
    const isActive = ({ state }: ClusterMember) => state === 'active';
    const eligible = () => membersOf(members.current.members.filter(isActive), host);
    const onRemoveFailure = (error: Error) => host.stopServing('storage failed', error);
    const common = { tree: coordination, placements, eligible, host, rows, clock, onRemoveFailure };
    const keyspaces = await Keyspaces.open({ ...common, others: () => topics?.partitions() ?? [] });
    const topics: Topics = await Topics.open({ ...common, logs, others: () => keyspaces.partitions() });
    const groups = () => [...keyspaces.partitions(), ...topics.partitions()];
    let isRecovered = false;
    const recovery = host.completeRecovery().then(() => {
      isRecovered = true;
      keyspaces.removeOrphans();
      topics.removeOrphans();
    });
    recovery.catch(() => undefined); // the host has said why
    if (host.members.length === 1) {
      await recovery;
      await Promise.all(host.replicas.map(({ group }) => awaitRead(host, group)));
      await bootstrap(coordination, keyspaces, members);
    } else this.#stopBootstrap = keepBootstrapping(clock, coordination, keyspaces, members);
    const identity = await this.#noteStart(log);
    this.#gossip = this.#startGossip(host, members);
    const gossip = this.#gossip;
    gossip?.follow((_, revived) => {
      for (const member of host.members) if (revived.includes(member.name)) routes.returned(member);
    });
    const reclaimer = new SpaceReclaimer(rows, clock);
    const guard = (space = await SpaceGuard.start({
      disk,
      clock,
      floorBytes: minFreeBytes,
      // Files that were removed go on taking what is written, until the process ends.
      onGone: (error) => host.stopServing('storage failed', error),
      onChange: (low, freeBytes) => {
        reclaimer.setLow(low);
        onSpaceChange?.(low, freeBytes);
      },
    }));
    const kv = new KeyValue({ host, rows, clock, admission: admit, routes, others });
    const history = { ...DEFAULT_HISTORY, ...this.#options.history };
    const coordinationUpkeep = new CoordinationUpkeep(coordination, clock, history);
    const sweeper = new Sweeper(host, rows, clock, keyspaces);
    const brokerParts = { host, clock, admission: admit, routes, forwarder: others?.forwarder };
    const {
      broker,
      producers,
      upkeep: brokerUpkeep,
    } = engineBroker({ ...brokerParts, tree: coordination, topics });
    const scrubber = new Scrubber({
      rows,
      clock,
      verifyNextFile: this.#options.verifyNextFile,
      onDamage: (error) => host.stopServing('storage damaged', error),
    });
    const figures = {
      durationMs: clock.monotonicMs() - this.#startedMs,
      replayedEntries: host.replayedEntries,
      tornBytes,
    };
    const balancer = new LeaderBalancer(host, clock, random);
    const upkeep = this.#createUpkeep({ host, tree: coordination, members, placements, groups });
    const handOver = () => {
      balancer.stop();
      const handedOver = host.handOverAll();
      return gossip === undefined ? handedOver : gossip.leave().then(() => handedOver);
    };
    const stop = async () => {
      gossip?.stop();
      sessions.stop();
      await consumerGroups.stop();
      balancer.stop();
      upkeep.stop();
      this.#stopBootstrap();
      guard.stop();
      others?.forwarder.stop();
      others?.reads.stop();
      await reclaimer.stop();
      await coordinationUpkeep.stop();
      await sweeper.stop();
      await brokerUpkeep.stop();
      await scrubber.stop();
      await keyspaces.stop();
      await topics.stop();
      await host.stop();
      await logs.stop();
      await log.close();
      await this.#store.close();
    };
    return {
      identity,
      log,
      rows,
      host,
      members,
      gossip,
      seen: this.#see(members, placements, groups),
      changes: upkeep.changes,
      transfer: upkeep.transfer,
      rebuilds: upkeep.rebuilds,
      space: guard,
      coordination,
      auth,
      sessions,
      configuration,
      coordinationUpkeep,
      routes,
      leaderCalls: new LeaderCalls({ host, clock, transport: forwarding, routes, founders }),
      ids: this.#createIds(coordination, members, host),
      sequences: new Sequences(coordination),
      keyspaces,
      kv,
      topics,
      groups: consumerGroups,
      broker,
      producers,
      partitionLogs: logs,
      reads: others?.reads,
      forwarding,
      saves: forwarding && new RemoteSaves({ clock, transport: forwarding, routes }),
      admission: admit,
      forwardedBytes: () => others?.forwarder.queuedBytes ?? 0,
      scrubber,
      recovery: figures,
      isReady: () => isRecovered && isBootstrapped(coordination),
      handOver,
      stop,
    };
  }

  #createIds(coordination: Coordination, members: ClusterMembers, host: GroupHost): Ids {
    const { clock, random } = this.#options;
    return new Ids({
      tree: coordination,
      clock,
      random,
      member: host.self,
      incarnation: this.#identity.incarnation,
      // A number that the table has not come to belongs to a member that is not known here yet.
      isGone: (id) => {
        const { members: known, nextId } = members.current;
        return id < nextId && known.every((member) => member.id !== id);
      },
      unledError: () => coordination.unledError,
    });
  }

  get #leaseCheckpointMs(): number {
    return this.#options.leaseCheckpointMs ?? DEFAULT_LEASE_CHECKPOINT_MS;
  }

  #others(host: GroupHost, routes: GroupRoutes, admit: Admission): OtherNodes | undefined {
    const { forwarding: transport, clock, queueBytes, observe: observer } = this.#options;
    if (transport === undefined) return undefined;
    const observe: ObserveForwarded | undefined =
      observer && ((operation, result, count) => observer.forwarded(operation, result, count));
    const clusterId = this.#identity.cluster_id ?? '';
    const carrier = { clock, transport, clusterId, routes, observe };
    return {
      forwarder: new Forwarder({ ...carrier, host, admission: admit, queueBytes }),
      reads: new RemoteReads(carrier),
    };
  }

  /** What stopped the host says more than what that made fail. */
  get fatal(): Error | undefined {
    return this.#fatal;
  }

  /** Lets go of what was opened before opening failed. */
  async abandon(): Promise<void> {
    this.#gossip?.stop();
    this.#stopBootstrap();
    this.#host?.abandon();
    await this.#log?.close().catch(() => undefined);
    await this.#store.close().catch(() => undefined);
  }

  async #openLog(): Promise<{
    log: WriteAheadLog;
    recovered: RecoveredGroups;
    tornBytes: number;
  }> {
    const { disk, clock, segmentBytes, observe } = this.#options;
    const recovered = new RecoveredGroups();
    const { log, damage, tornBytes } = await WriteAheadLog.open(
      {
        disk,
        clock,
        directory: LOG_DIRECTORY,
        logId: Buffer.from(this.#identity.log_id, 'hex'),
        segmentBytes,
        ...(observe && { observe: (batch: BatchTimes) => observe.logBatch(batch) }),
      },
      (record) => recovered.note(record),
    );
    this.#log = log;
    if (damage.length > 0) throw new DataDamaged(damage.map(({ description }) => description));
    if (this.#identity.log_begun && log.isEmpty) throw new DataDamaged(['the log is gone']);
    return { log, recovered, tornBytes };
  }

  #openRows(log: WriteAheadLog, files: PartitionLogs): RowStore {
    const { clock, observe } = this.#options;
    return new RowStore({
      store: this.#store,
      clock,
      files,
      logSequence: () => log.lastSequence,
      onFlushed: (mark, stored) => this.#host?.noteFlushed(mark, stored),
      onFailure: (error) => this.#host?.stopServing('storage failed', error),
      ...(observe && { observe: (flush: FlushTimes) => observe.flush(flush) }),
    });
  }

  /** The log and the store each say how far the other was; whichever is behind has lost something. */
  #compareMarks(log: WriteAheadLog, rows: RowStore): void {
    const { flush, logSequence } = rows.mark;
    if (logSequence > log.lastSequence) {
      throw new DataDamaged([
        `the log ends at record ${log.lastSequence}, and had ${logSequence} when the store was last written: it was rolled back or lost its end`,
      ]);
    }
    if (log.storeMark > flush) {
      throw new DataDamaged([
        `the store holds flush ${flush}, and had ${log.storeMark} by the log: it was rolled back or lost data`,
      ]);
    }
  }

  #openHost(log: WriteAheadLog, rows: RowStore, recovered: RecoveredGroups): GroupHost {
    const { clock, random, nodeName, queueBytes, onFailure, observe, peers, raft } = this.#options;
    const members = this.#membership.members.map((member) => this.#member(member));
    // By its directory: a node that was replaced under its own name is not its successor.
    const own = this.#membership.members.find(({ nodeId }) => nodeId === this.#identity.node_id);
    if (own === undefined) throw new IdentityError(`"${nodeName}" is not among the members of the cluster.`);
    const self = this.#member(own);
    this.#host = new GroupHost({
      log,
      rows,
      clock,
      random,
      queueBytes,
      self,
      members,
      peers: peers && {
        transport: peers,
        logId: Buffer.from(this.#identity.log_id, 'hex'),
      },
      recovered,
      onFailure: (cause, error) => {
        this.#fatal ??= error;
        if (cause === 'not known again') this.#keep({ condemned: error.message });
        if (cause === 'removed') this.#keep({ removed: error.message });
        onFailure(cause, error);
      },
      ...(raft && { settings: raft }),
      ...(this.#options.entryCacheBytes !== undefined && { cacheBytes: this.#options.entryCacheBytes }),
      ...(observe && { observe }),
    });
    return this.#host;
  }

  /** The members as they change, told to whoever has to do with them, and kept in the directory. */
  #followMembers(tree: Coordination, host: GroupHost): ClusterMembers {
    const tell = (membership: Membership) => {
      host.setMembers(membership.members.map((member) => this.#member(member)));
      this.#options.onMembers?.(membership);
    };
    tell(this.#membership);
    return new ClusterMembers(tree, this.#membership, (membership) => {
      tell(membership);
      this.#gossip?.setMembers(membership);
      if (this.#identity.cluster_id === undefined) return; // nobody has founded anything: a test
      this.#identity = withMembership(this.#identity, membership);
      this.#saveIdentity().catch((error: unknown) => host.stopServing('storage failed', error as Error));
    });
  }

  /** After the start was noted, as it counts starts. */
  #startGossip(host: GroupHost, members: ClusterMembers): GossipDriver | undefined {
    const { gossip, clock, random, queueBytes } = this.#options;
    if (gossip === undefined) return undefined;
    const driver = startGossip(gossip, { clock, random, host, queueBytes, identity: this.#identity });
    driver.setMembers(members.current);
    return driver;
  }

  #see(
    members: ClusterMembers,
    placements: GroupPlacements,
    groups: () => readonly FirstPlacement[],
  ): SeenMembers {
    const { clock, nodeName: self } = this.#options;
    return new SeenMembers({ self, clock, members, placements, groups, gossip: this.#gossip });
  }

  #createAuth(coordination: Coordination): Auth {
    const { clock, random, auth = DEFAULT_AUTH, passwordHash: hash = scrypt } = this.#options;
    return new Auth({ ...auth, coordination, clock, random, hash });
  }

  #createUpkeep(parts: {
    host: GroupHost;
    tree: Coordination;
    members: ClusterMembers;
    placements: GroupPlacements;
    groups: () => readonly FirstPlacement[];
  }): Upkeep {
    const { clock, random, nodeName: self, cluster, forwarding: transport, addressProblem } = this.#options;
    const { host } = parts;
    return new Upkeep({
      ...parts,
      self,
      cluster,
      transport,
      clock,
      random,
      addressOf: (member) => this.#member(member).address,
      addressProblem: addressProblem ?? (() => undefined),
      onRemoved: (error) => host.stopServing('removed', error),
    });
  }

  #member(member: ClusterMember): Member {
    const { id, name } = member;
    return { id, name, address: addressOfMember(this.#membership, member, this.#options.addressOf) };
  }

  async #noteStart(log: WriteAheadLog): Promise<Identity> {
    const before = this.#identity;
    this.#identity = {
      ...before,
      incarnation: before.incarnation + 1,
      // Who begins as no voter has nothing to write until somebody tells it something.
      log_begun: before.log_begun || !log.isEmpty,
    };
    await this.#saveIdentity();
    return this.#identity;
  }

  /** Remembered, so that a restart does not find a peer that knows less. */
  #keep(verdict: Partial<Pick<Identity, 'condemned' | 'removed'>>): void {
    this.#identity = { ...this.#identity, ...verdict };
    this.#saveIdentity().catch(() => undefined); // the process is ending: it says why once more when asked again
  }

  /** One at a time. */
  #saveIdentity(): Promise<void> {
    const save = () => writeIdentity(this.#options.disk, this.#identity);
    this.#saving = this.#saving.then(save, save);
    return this.#saving;
  }
}
