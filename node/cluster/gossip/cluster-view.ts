/**
 * What this node holds all nodes for: takes in what is heard and found, and says what of it is
 * news.
 *
 *  1. A record is replaced only by one that counts more; what this node finds itself is a record
 *     like any other.
 *  2. Only a node itself raises its incarnation: whatever is said of this node that is not so, it
 *     contradicts with an incarnation above.
 *  3. Nobody is dead who was not suspected here for as long as a suspicion takes at least: a death
 *     that is told is a suspicion, and the node is asked. Of halves that were apart each has
 *     buried the other, and who was cut off all others.
 *  4. An unknown node that is not up is not taken in: what was forgotten stays forgotten.
 */
import { KnownNodes } from './known-nodes.ts';
import type { LocalHealth } from './local-health.ts';
import { News } from './news.ts';
import {
  compareInstances,
  compareRecords,
  compareVersions,
  isUp,
  MAX_INCARNATION,
  type Instance,
  type NodeMeta,
  type NodeRecord,
} from './node-record.ts';
import type { GossipSettings } from './settings.ts';
import { Suspicion } from './suspicion.ts';

/** Another thing is known of a node. */
export interface GossipChange {
  /** Before; undefined: nothing was known. */
  readonly before: NodeRecord | undefined;
  /** From now on; undefined: it is forgotten. */
  readonly after: NodeRecord | undefined;
}

export interface ClusterViewOptions {
  readonly settings: GossipSettings;
  readonly self: { readonly name: string } & Instance & NodeMeta;
  readonly health: LocalHealth;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

export class ClusterView {
  readonly #settings: GossipSettings;
  readonly #health: LocalHealth;
  readonly nodes: KnownNodes;
  readonly news = new News();
  #self: NodeRecord;
  /** By node, those that are under suspicion. */
  readonly #suspicions = new Map<string, Suspicion>();
  /** Since when those have been down that are. */
  readonly #downMs = new Map<string, number>();
  /** Never forgotten, whatever they are held for. */
  readonly #kept = new Set<string>();
  readonly #disputed = new Set<string>();
  #nowMs = 0;
  #changes: GossipChange[] = [];
  #newer: Instance | undefined;
  /** How often this node has contradicted what was said of it. */
  refutations = 0;

  constructor({ settings, self, health, random }: ClusterViewOptions) {
    this.#settings = settings;
    this.#health = health;
    this.nodes = new KnownNodes(self.name, random);
    this.#self = { ...self, incarnation: 0, state: 'alive', accuser: '' };
    this.nodes.put(this.#self);
    this.news.add(this.#self);
  }

  get self(): NodeRecord {
    return this.#self;
  }

  /** The run that has this node's name now, if it is not this one. */
  get newer(): Instance | undefined {
    return this.#newer;
  }

  /** What has changed since the last time. */
  takeChanges(): GossipChange[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  /** Takes in what `teller` says. */
  hear(record: NodeRecord, teller: string): void {
    if (record.name === this.#self.name) return this.#hearOfSelf(record);
    const known = this.nodes.get(record.name);
    if (known === undefined) {
      const hasRoom = this.nodes.size < this.#settings.maxNodes;
      if (isUp(record) && hasRoom) this.#take(record);
      return;
    }
    if (record.state === 'dead' && isUp(known)) return this.#hearOfDeath(known, record, teller);
    const order = compareRecords(record, known);
    if (order > 0) this.#take(record);
    else if (order === 0 && record.state === 'suspect') this.#confirm(known, record.accuser);
    else if (known.state === 'dead' && isUp(record) && compareVersions(record, known) === 0)
      this.#disputed.add(record.name);
  }

  /** Holds a node that is up for suspect: `accuser` got no answer, or says that it is dead. */
  suspect(name: string, accuser: string): void {
    const known = this.nodes.get(name);
    if (known === undefined || !isUp(known) || name === this.#self.name) return;
    if (known.state === 'suspect') this.#confirm(known, accuser);
    else this.#take({ ...known, state: 'suspect', accuser });
  }

  /** Whether a node is suspected or taken for dead. */
  isDoubted(name: string): boolean {
    const state = this.nodes.get(name)?.state;
    return state === 'suspect' || state === 'dead';
  }

  /** Those who others and this node hold for up and dead, since the last time: they are to be asked. */
  takeDisputed(): string[] {
    const names = [...this.#disputed];
    this.#disputed.clear();
    return names;
  }

  /** Whether a record takes this run for gone that is not. */
  isWrongOfSelf(record: NodeRecord): boolean {
    const { name, state } = this.#self;
    const isMeant = record.name === name && compareInstances(record, this.#self) === 0;
    return isMeant && state === 'alive' && record.state !== 'alive';
  }

  /**
   * A member that may never have been heard of: it is suspect until it is. Nobody is told, as
   * everybody has the table of members, and it is not forgotten.
   */
  expect(name: string, member: number): void {
    if (name === this.#self.name) return this.#meet({ member, start: 0 });
    this.#kept.add(name);
    const known = this.nodes.get(name);
    if (known !== undefined && known.member >= member) return;
    const run = {
      name,
      member,
      start: 0,
      incarnation: 0,
      state: 'suspect',
      accuser: this.#self.name,
    } as const;
    this.#put({ ...run, zone: '', datacentre: '', grpc: '', http: '', version: '', load: 0 });
  }

  /** This run of a node, and all before it, are members no more. */
  expel(name: string, member: number): void {
    this.#kept.delete(name);
    if (name === this.#self.name) return this.#meet({ member, start: MAX_INCARNATION });
    const known = this.nodes.get(name);
    if (known === undefined || known.member > member) return;
    this.#take({ ...known, member, start: MAX_INCARNATION, state: 'left', accuser: '' });
  }

  /** What this node says of itself from now on. */
  describe(meta: Partial<NodeMeta>): void {
    this.#become({ ...meta, incarnation: this.#self.incarnation + 1 });
  }

  /** This node ends. */
  leave(): void {
    this.#become({ state: 'left', incarnation: this.#self.incarnation + 1 });
  }

  /** There is another run of this node's name. */
  onNewer(newer: Instance): void {
    this.#meet(newer);
  }

  /** Goes on to a time: suspicions end, and who has been down for long is forgotten. */
  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    for (const [name, suspicion] of this.#suspicions) {
      if (nowMs < suspicion.deadlineMs) continue;
      const known = this.nodes.get(name)!;
      this.#take({ ...known, state: 'dead', accuser: '' });
    }
    for (const [name, sinceMs] of this.#downMs)
      if (nowMs - sinceMs >= this.#settings.reapAfterMs && !this.#kept.has(name)) this.#forget(name);
  }

  /** Invariant 3. */
  #hearOfDeath(known: NodeRecord, record: NodeRecord, teller: string): void {
    if (compareVersions(record, known) < 0) return;
    const suspect = { ...record, state: 'suspect', accuser: teller } as const;
    if (compareRecords(suspect, known) > 0) {
      this.#take(suspect);
      this.#disputed.add(record.name);
    }
    this.#suspicions.get(record.name)?.hasten();
  }

  /** Invariant 2. */
  #hearOfSelf(record: NodeRecord): void {
    this.#meet(record);
    if (compareInstances(record, this.#self) !== 0 || compareRecords(record, this.#self) <= 0) return;
    if (record.state !== 'alive') {
      this.#health.worse();
      this.refutations++;
    }
    this.#become({ incarnation: record.incarnation + 1 });
  }

  #meet(instance: Instance): void {
    if (compareInstances(instance, this.#self) <= 0) return;
    if (this.#newer === undefined || compareInstances(instance, this.#newer) > 0)
      this.#newer = { member: instance.member, start: instance.start };
  }

  #become(change: Partial<NodeRecord>): void {
    const next = { ...this.#self, ...change };
    if (next.incarnation >= MAX_INCARNATION) return;
    this.#self = next;
    this.#take(next);
  }

  /** Somebody else finds the same of a node that is suspected. */
  #confirm(known: NodeRecord, accuser: string): void {
    if (this.#suspicions.get(known.name)?.confirm(accuser) === true) this.news.add({ ...known, accuser });
  }

  /** Holds for true, and tells. */
  #take(record: NodeRecord): void {
    if (this.#put(record)) this.news.add(record);
  }

  /** Invariant 1. */
  #put(record: NodeRecord): boolean {
    const before = this.nodes.get(record.name);
    if (!this.nodes.put(record)) return false;
    const { name, state, accuser } = record;
    this.#suspicions.delete(name);
    if (state === 'suspect')
      this.#suspicions.set(name, new Suspicion(this.#settings, this.#nowMs, this.nodes.upCount, accuser));
    if (isUp(record)) this.#downMs.delete(name);
    else if (!this.#downMs.has(name)) this.#downMs.set(name, this.#nowMs);
    this.#changes.push({ before, after: record });
    return true;
  }

  #forget(name: string): void {
    this.#downMs.delete(name);
    this.news.drop(name);
    this.#changes.push({ before: this.nodes.get(name), after: undefined });
    this.nodes.remove(name);
  }
}
