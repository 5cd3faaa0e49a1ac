/**
 * What is known of a node, and which of two records counts. The order is total: to merge is to
 * take the greater, so it does not matter in which order, or how often, records come.
 */

/** What a node is held for. `left`: it said that it ends, or is no member any more. */
export type LifeState = 'alive' | 'suspect' | 'dead' | 'left';

/** Which run of a node. */
export interface Instance {
  /** Its number as a member; never given to another node. */
  readonly member: number;
  /** Times that its directory has been started; 0: known by the table of members alone. */
  readonly start: number;
}

/** What a node says of itself. */
export interface NodeMeta {
  /** Empty: none. */
  readonly zone: string;
  /** Empty: none. */
  readonly datacentre: string;
  /** `host:port`. */
  readonly grpc: string;
  readonly http: string;
  /** Of its program. */
  readonly version: string;
  /** How busy it was when it last said so, 0 to 100. */
  readonly load: number;
}

export interface NodeRecord extends Instance, NodeMeta {
  readonly name: string;
  /** Raised by the node itself alone. */
  readonly incarnation: number;
  readonly state: LifeState;
  /** Whom it did not answer; empty unless it is suspected. */
  readonly accuser: string;
}

/** Incarnations end here: with one a second they last for 30,000 years. */
export const MAX_INCARNATION = 2 ** 40;

const RANKS: Readonly<Record<LifeState, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 };

/** Positive: `a` is the newer run. */
export function compareInstances(a: Instance, b: Instance): number {
  return a.member - b.member || a.start - b.start;
}

/** Positive: `a` is of a newer run or incarnation. */
export function compareVersions(a: NodeRecord, b: NodeRecord): number {
  return compareInstances(a, b) || a.incarnation - b.incarnation;
}

/** Positive: `a` counts. 0: they say the same, but for who accuses. */
export function compareRecords(a: NodeRecord, b: NodeRecord): number {
  return compareVersions(a, b) || RANKS[a.state] - RANKS[b.state];
}

/** Whether it may answer: it is alive or only suspected. */
export function isUp({ state }: Pick<NodeRecord, 'state'>): boolean {
  return state === 'alive' || state === 'suspect';
}

/** No fewer bytes than a record takes in a message. */
export function recordBytes({ name, accuser, zone, datacentre, grpc, http, version }: NodeRecord): number {
  let bytes = FIXED_BYTES;
  for (const text of [name, accuser, zone, datacentre, grpc, http, version]) bytes += Buffer.byteLength(text);
  return bytes;
}

/** Tags, lengths and numbers, each as long as it can be. */
const FIXED_BYTES = 64;
