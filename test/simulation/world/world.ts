/**
 * A cluster and its clients from one seed: nodes that run the real engine, handlers and
 * edge, clients that run the real client library, and between them simulated processes,
 * disks, clocks, links. First with faults, when nothing wrong may be seen, then without,
 * when everything has to be well again within a bound (`recovery.ts`).
 */
import { crc32 } from 'node:zlib';
import { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { SimulatedNetwork } from '../../../node/runtime/simulated/simulated-network.ts';
import { SimulatedScheduler } from '../../../node/runtime/simulated/simulated-scheduler.ts';
import { SimulatedLinks } from '../../../node/transport/simulated/simulated-links.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import { checkKvHistory } from '../checkers/kv-checks.ts';
import { checkBounds } from './bounds.ts';
import { BrokerWork } from './broker-work.ts';
import { Caller } from './caller.ts';
import { CoordinationWork } from './coordination-work.ts';
import { KeyChoice } from './key-choice.ts';
import { LeaderWatch } from './leader-watch.ts';
import { Nemesis, type Surroundings } from './nemesis.ts';
import type { ClusterMember } from '../../../node/cluster/membership.ts';
import { newestMembers } from './operator-faults.ts';
import type { Member } from './open-member.ts';
import { PlainCaller } from './plain-caller.ts';
import { Recorder } from './recorder.ts';
import { Recovery } from './recovery.ts';
import type { WorldReport } from './report.ts';
import { Supervisor } from './supervisor.ts';
import { Trace } from './trace.ts';
import { WireWatch } from './wire-watch.ts';
import { WorldClient } from './world-client.ts';
import type { NodeSurroundings } from './node-surroundings.ts';
import { WorldNode } from './world-node.ts';
import { drawSettings, type WorldOptions, type WorldSettings } from './world-settings.ts';

/** Between two looks at bounds and leaders. */
const LOOK_MS = 20;
/** Within this time nodes are started for the first time; deaths before they belong come within twice of it. */
const FOUNDING_MS = 300;
const FOUNDING_DEATHS = 0.3;
/** No run comes near it. */
const MOST_EVENTS = 3_000_000;
/** Virtual time within which a cluster without faults is up and has its keyspaces. */
const SETUP_MS = 30_000;

export class World {
  readonly seed: string;
  readonly settings: WorldSettings;
  readonly scheduler = new SimulatedScheduler();
  readonly trace: Trace;
  readonly recorder: Recorder;
  readonly links: SimulatedLinks;
  readonly network: SimulatedNetwork;
  readonly nodes: readonly WorldNode[];
  readonly clients: readonly WorldClient[];
  readonly callers: readonly Caller[];
  readonly plainCallers: readonly PlainCaller[];
  /** Undefined: nothing but keyspaces is worked on. */
  readonly coordination: CoordinationWork | undefined;
  /** Undefined: no topics are worked on. */
  readonly broker: BrokerWork | undefined;
  readonly keys: KeyChoice;
  readonly supervisor: Supervisor;
  readonly leaders: LeaderWatch;
  readonly #random: SeededRandom;
  readonly #faults: readonly string[] | undefined;
  #failure: Error | undefined;
  #unique = 0;
  #foundingDeaths = 0;

  constructor(seed: string, options: WorldOptions = {}) {
    this.seed = seed;
    this.#faults = options.faults;
    this.#random = new SeededRandom(seed);
    this.settings = drawSettings(this.#random.fork('settings'), options);
    this.trace = new Trace(() => this.scheduler.nowMs(), options.print);
    this.scheduler.observe = (atMs, order) => this.trace.event(atMs, order);
    this.recorder = new Recorder(this.trace);
    this.links = new SimulatedLinks(this.scheduler, this.#random.fork('links'));
    this.network = new SimulatedNetwork(this.scheduler, this.#random.fork('network'));
    this.keys = new KeyChoice(this.settings.keyspaces);
    const around = this.#surroundings();
    this.nodes = around.members.map(
      (member) => new WorldNode(member, this.#random.fork(`node-${member.id}`), around),
    );
    this.clients = Array.from(
      { length: this.settings.clients },
      (_, at) => new WorldClient(`c${at + 1}`, this.#random.fork(`client-${at}`), around),
    );
    this.callers = this.clients.flatMap((client) => this.#callersOf(client));
    this.plainCallers = Array.from({ length: this.settings.plainCallers }, (_, at) => {
      const random = this.#random.fork(`plain-${at}`);
      return new PlainCaller(`p${at + 1}`, random, around, this.recorder, this.keys, () => ++this.#unique);
    });
    if (this.settings.coordinators > 0)
      this.coordination = new CoordinationWork(this, around, this.#random.fork('coordination'));
    if (this.settings.producers > 0) this.broker = new BrokerWork(this, around, this.#random.fork('broker'));
    this.supervisor = new Supervisor(this.nodes, this.scheduler, this.#random.fork('supervisor'));
    this.leaders = new LeaderWatch(this.nodes);
  }

  /** Runs both phases and the checks; throws what a check found. */
  async run(): Promise<WorldReport> {
    await this.#setUp();
    const nemesis = new Nemesis(this.#scene(), this.#faults);
    await this.#work(nemesis);
    const recoveryMs = await new Recovery(this).run();
    const { verdict } = checkKvHistory(this.recorder.history.operations, {
      partitionOf: (key) => this.keys.partitionOf(key),
    });
    return this.#report(nemesis, recoveryMs, verdict.steps);
  }

  /** The members by the newest table that anybody knows. */
  members(): readonly ClusterMember[] {
    return newestMembers(this.nodes);
  }

  /** Ends the run with what somebody found. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /** Runs until `condition` holds, at most `withinMs`; throws what was found meanwhile. */
  async until(condition: () => boolean, withinMs: number): Promise<boolean> {
    const held = await this.scheduler.runUntilTrue(() => this.#hasFailed() || condition(), withinMs);
    if (this.#failure !== undefined) throw this.#failure;
    return held;
  }

  #hasFailed(): boolean {
    if (this.scheduler.executed > MOST_EVENTS) {
      this.fail(
        new CheckFailure('events', `more than ${MOST_EVENTS} events: something goes round in circles`),
      );
    }
    return this.#failure !== undefined;
  }

  /** Runs until `work` is done; throws a failure of `checker` when it takes longer than `withinMs`. */
  async finish<T>(work: Promise<T>, withinMs: number, checker: string, what: string): Promise<T> {
    let isSettled = false;
    const mark = () => (isSettled = true);
    work.then(mark, mark);
    if (!(await this.until(() => isSettled, withinMs))) {
      throw new CheckFailure(checker, `${what} took longer than ${withinMs} ms`);
    }
    return work;
  }

  async #setUp(): Promise<void> {
    this.#found();
    const isUp = () => {
      this.checkOneCluster();
      return this.nodes.every(({ state }) => state === 'up' || state === 'spare');
    };
    if (!(await this.until(isUp, SETUP_MS))) throw new CheckFailure('setup', 'the nodes do not come up');
    const { keyspaces } = this.clients[0]!.holdfast;
    const creating = Promise.all(
      this.settings.keyspaces.map(({ name, partitions }) =>
        keyspaces.create(name, { partitions, replication: 7 }),
      ),
    );
    await this.finish(creating, SETUP_MS, 'setup', 'creating keyspaces');
    await this.broker?.setUp();
    this.#look();
  }

  /** Nodes are started one after another, and some die before they belong to a cluster. */
  #found(): void {
    const random = this.#random.fork('founding');
    for (const node of this.nodes.filter(({ state }) => state !== 'spare')) {
      this.scheduler.after(random.float() * FOUNDING_MS, () => node.start());
      if (!random.chance(FOUNDING_DEATHS)) continue;
      this.scheduler.after(random.float() * 2 * FOUNDING_MS, () => {
        if (node.dieEarly()) this.#foundingDeaths++;
        node.start();
      });
    }
  }

  /** From one file comes one cluster. */
  checkOneCluster(): void {
    const ids = new Set(this.nodes.flatMap(({ clusterId }) => clusterId ?? []));
    if (ids.size > 1) throw new CheckFailure('one cluster', `nodes belong to ${[...ids].join(' and ')}`);
  }

  async #work(nemesis: Nemesis): Promise<void> {
    const endMs = this.scheduler.nowMs() + this.settings.faultyMs;
    const thinkMs = (this.callers.length * this.settings.faultyMs) / this.settings.operations;
    const isOver = () => this.scheduler.nowMs() >= endMs;
    for (const caller of [...this.callers, ...this.plainCallers]) {
      caller.run(thinkMs, isOver).catch((error: unknown) => this.fail(error as Error));
    }
    this.coordination?.start(isOver);
    this.broker?.start(isOver);
    this.supervisor.start();
    await this.until(isOver, this.settings.faultyMs + 1);
    nemesis.stop();
    this.trace.note('world', 'faults are over');
  }

  /** Looks at what must hold at any moment, again and again. */
  #look(): void {
    try {
      for (const node of this.nodes)
        checkBounds(
          node,
          this.settings,
          this.settings.clients + this.settings.coordinators + this.settings.producers,
        );
      this.leaders.look();
    } catch (error) {
      this.fail(error as Error);
    }
    this.scheduler.after(LOOK_MS, () => this.#look());
  }

  #surroundings(): NodeSurroundings {
    const machines = this.settings.nodes + this.settings.spares;
    const members = Array.from({ length: machines }, (_, at): Member => {
      return { id: at + 1, name: `n${at + 1}`, address: `10.0.0.${at + 1}:7401` };
    });
    this.links.observe = (_from, _to, frame) => {
      if ('bytes' in frame && typeof frame.bytes === 'object') this.trace.number(crc32(frame.bytes));
    };
    let fewest = this.settings.nodes;
    const watch = new WireWatch(() => {
      // One that is replaced under its own name stands there twice.
      const names = new Set(this.members().map(({ name }) => name));
      fewest = Math.min(fewest, names.size || fewest);
      return fewest - 1;
    });
    this.network.observe = (from, _to, message) => {
      this.trace.number(crc32(message));
      try {
        watch.look(message, from, this.scheduler.nowMs());
      } catch (error) {
        this.fail(error as Error);
      }
    };
    return {
      scheduler: this.scheduler,
      network: this.network,
      links: this.links,
      trace: this.trace,
      settings: this.settings,
      members,
      founders: members.slice(0, this.settings.nodes).map(({ name }) => name),
      onDefect: (checker, message) => this.fail(new CheckFailure(checker, message)),
      onApplied: (...applied) => {
        this.coordination?.log.applied(...applied);
        this.broker?.applied.applied(...applied);
      },
    };
  }

  #callersOf(client: WorldClient): Caller[] {
    return Array.from({ length: this.settings.callersPerClient }, (_, at) => {
      const name = `${client.name}.${at + 1}`;
      const random = this.#random.fork(`caller-${name}`);
      const nextUnique = () => ++this.#unique;
      const onLate = (failure: Error) => this.fail(failure);
      return new Caller(name, client, this.recorder, random, this.keys, this.settings, nextUnique, onLate);
    });
  }

  #scene(): Surroundings {
    const { nodes, links, network, scheduler, trace } = this;
    const clients = [...this.clients, ...(this.coordination?.clients ?? []), ...(this.broker?.clients ?? [])];
    const { changesMembers } = this.settings;
    // A group has three voters, or may be down to as many.
    const most = Math.floor((Math.min(3, nodes.length) - 1) / 2);
    return {
      nodes,
      clients,
      links,
      network,
      scheduler,
      trace,
      random: this.#random.fork('nemesis'),
      changesMembers,
      leaders: () => this.leaders.leading(),
      mayDamage: () => nodes.filter(({ isDamaged }) => isDamaged).length < most,
    };
  }

  #report(nemesis: Nemesis, recoveryMs: number, checkSteps: number): WorldReport {
    const sum = (of: (node: WorldNode) => number) => this.nodes.reduce((all, node) => all + of(node), 0);
    return {
      seed: this.seed,
      nodes: this.settings.nodes,
      ...this.recorder.counts,
      virtualSeconds: this.scheduler.nowMs() / 1_000,
      events: this.scheduler.executed,
      starts: sum(({ starts }) => starts),
      refusals: sum(({ refusals }) => refusals),
      rebuilds: sum(({ rebuilds }) => rebuilds),
      forwarded: sum(({ forwarded }) => forwarded),
      leaderChanges: this.leaders.changes,
      foundingDeaths: this.#foundingDeaths,
      injections: nemesis.injections(),
      reasons: Object.fromEntries(this.recorder.reasons),
      work: Object.fromEntries([
        ...(this.coordination?.recorder.counts ?? []),
        ...(this.broker?.recorder.counts ?? []),
      ]),
      recoveryMs,
      checkSteps,
      traceHash: this.trace.hash,
    };
  }
}
