/**
 * The leases of the cluster as rows, and what hangs on each: its own keys are counted here
 * and named by the tree, its locks and elections are named here.
 *
 *  1. A number that the cluster chose is not chosen again.
 *  2. At most `MAX_HANGING` things hang on a lease: all of them end with it at once.
 *  3. Lease time only grows, and only by what the leader of the newest lease term says.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { RowKey } from '../storage/row-key.ts';
import type { Anchor } from './lease-countdown.ts';
import type { LiveRow, PartRows } from './machine-part.ts';

/** Keys, locks and elections of one lease together. */
export const MAX_HANGING = 4_096;
/** Leases of the cluster: every one takes memory on every node. */
export const MAX_LEASES = 1_000_000;
/** Greatest number of a lease. */
export const MAX_LEASE = (1n << 63n) - 1n;
const ROW_VERSION = 1;
const NO_NAMES: ReadonlySet<string> = new Set();

/** What has a queue of those who want it. */
export type Hanging = 'locks' | 'elections';
/** What hangs on a lease by name. */
export type HangingName = Hanging | 'groups';

/** A lease. */
export class LeaseRow implements LiveRow {
  readonly ttlMs: number;
  /** Who holds it, for people. */
  readonly name: string;
  /** Lease time at which it ends; undefined: it is afloat (lease-countdown.ts). */
  endsMs: number | undefined;
  /** How many keys end with it. */
  keys = 0;
  #locks: Set<string> | undefined;
  #elections: Set<string> | undefined;
  #groups: Set<string> | undefined;

  constructor(ttlMs: number, name: string) {
    this.ttlMs = ttlMs;
    this.name = name;
  }

  /** Names, binary. */
  get locks(): ReadonlySet<string> {
    return this.#locks ?? NO_NAMES;
  }

  /** Names, binary. */
  get elections(): ReadonlySet<string> {
    return this.#elections ?? NO_NAMES;
  }

  /** Names of consumer groups. */
  get groups(): ReadonlySet<string> {
    return this.#groups ?? NO_NAMES;
  }

  /** How much hangs on it. */
  get hanging(): number {
    return this.keys + this.locks.size + this.elections.size + this.groups.size;
  }

  add(kind: HangingName, name: string): void {
    if (kind === 'locks') (this.#locks ??= new Set()).add(name);
    else if (kind === 'elections') (this.#elections ??= new Set()).add(name);
    else (this.#groups ??= new Set()).add(name);
  }

  drop(kind: HangingName, name: string): boolean {
    const names = { locks: this.#locks, elections: this.#elections, groups: this.#groups }[kind];
    if (names?.delete(name) !== true) return false;
    if (names.size === 0 && kind === 'groups') this.#groups = undefined;
    if (names.size === 0 && kind === 'locks') this.#locks = undefined;
    if (names.size === 0 && kind === 'elections') this.#elections = undefined;
    return true;
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(48 + this.name.length).u8(ROW_VERSION).u64(this.ttlMs);
    writer
      .bytes(Buffer.from(this.name))
      .u8(this.endsMs === undefined ? 0 : 1)
      .u64(this.endsMs ?? 0);
    writer.u32(this.keys);
    // Of groups only where there are any: rows of the first releases end before.
    for (const names of [this.locks, this.elections, ...(this.#groups === undefined ? [] : [this.#groups])]) {
      writer.u32(names.size);
      for (const name of names) writer.latin1(name);
    }
    return writer.finish();
  }

  static decode(content: Uint8Array): LeaseRow {
    const reader = new ByteReader(content);
    const version = reader.u8();
    if (version !== ROW_VERSION) throw new RangeError(`a lease of version ${version}`);
    const ttlMs = reader.u64();
    const row = new LeaseRow(ttlMs, reader.bytes().toString());
    const isAnchored = reader.u8() === 1;
    const endsMs = reader.u64();
    if (isAnchored) row.endsMs = endsMs;
    row.keys = reader.u32();
    for (const kind of ['locks', 'elections'] as const)
      for (let left = reader.u32(); left > 0; left--) row.add(kind, reader.latin1());
    if (!reader.done) for (let left = reader.u32(); left > 0; left--) row.add('groups', reader.latin1());
    return row;
  }
}

/** What all leases have in common. */
export class LeaseClock implements LiveRow {
  /** Of the leader that counts. */
  term = 0;
  /** Lease time, as of its last checkpoint. */
  timeMs = 0;
  /** Greatest number that the cluster chose. */
  lastLease = 0n;
  /** How many there are. */
  leases = 0;

  encode(): Uint8Array {
    const { term, timeMs, lastLease, leases } = this;
    return new ByteWriter(40).u8(ROW_VERSION).u64(term).u64(timeMs).i64(lastLease).u32(leases).finish();
  }

  static decode(content: Uint8Array): LeaseClock {
    const reader = new ByteReader(content);
    const version = reader.u8();
    if (version !== ROW_VERSION) throw new RangeError(`a lease clock of version ${version}`);
    const clock = new LeaseClock();
    clock.term = reader.u64();
    clock.timeMs = reader.u64();
    clock.lastLease = reader.i64();
    clock.leases = reader.u32();
    return clock;
  }
}

export class LeaseTable {
  readonly #rows: PartRows;
  readonly #prefix: RowKey;
  readonly #clockRow: RowKey;

  /** `prefix`: of group and family. */
  constructor(rows: PartRows, prefix: RowKey) {
    this.#rows = rows;
    this.#prefix = prefix;
    this.#clockRow = `${prefix}\xff`; // numbers begin with less than \x80
  }

  get clock(): Readonly<LeaseClock> {
    return this.#clock();
  }

  get(lease: bigint): Readonly<LeaseRow> | undefined {
    return this.#get(lease);
  }

  /** Up to `limit` leases after one, by number, as of one moment. */
  async list(after: bigint, limit: number): Promise<{ leases: [bigint, LeaseRow][]; more: boolean }> {
    const start = `${this.#row(after)}\0`;
    const { rows, more } = await this.#rows.range(start, this.#clockRow, limit);
    return { leases: rows.map(([row, content]) => [this.#leaseOf(row), LeaseRow.decode(content)]), more };
  }

  /** Grants a lease that is afloat; `lease` 0: with a number of its own choosing. Invariant 1. */
  grant(
    lease: bigint,
    ttlMs: number,
    name: string,
    stampMs: number,
  ): { readonly lease: bigint } | 'LEASE_EXISTS' | 'LEASES_TOO_MANY' {
    const clock = this.#clock();
    if (clock.leases >= MAX_LEASES) return 'LEASES_TOO_MANY';
    if (lease !== 0n && this.#get(lease) !== undefined) return 'LEASE_EXISTS';
    const given = lease === 0n ? this.#choose(clock, stampMs) : lease;
    clock.leases++;
    this.#rows.putLive(this.#clockRow, clock);
    this.#rows.putLive(this.#row(given), new LeaseRow(ttlMs, name));
    return { lease: given };
  }

  /** Forgets a lease. What hung on it is the caller's to end. */
  remove(lease: bigint): void {
    const clock = this.#clock();
    clock.leases--;
    this.#rows.putLive(this.#clockRow, clock);
    this.#rows.delete(this.#row(lease));
  }

  /** A leader begins to count; false: a later one has. Invariant 3. */
  begin(term: number): boolean {
    const clock = this.#clock();
    if (term <= clock.term) return term === clock.term;
    clock.term = term;
    this.#rows.putLive(this.#clockRow, clock);
    return true;
  }

  /** Stores what the leader has counted; false: another one counts. Leases that are gone are passed over. */
  checkpoint(term: number, timeMs: number, anchored: readonly Anchor[], afloat: readonly bigint[]): boolean {
    const clock = this.#clock();
    if (term !== clock.term) return false;
    clock.timeMs = Math.max(clock.timeMs, timeMs);
    this.#rows.putLive(this.#clockRow, clock);
    for (const { lease, endsMs } of anchored) this.#setEnd(lease, endsMs);
    for (const lease of afloat) this.#setEnd(lease, undefined);
    return true;
  }

  /** Whether one thing more can hang on a lease. Invariant 2. */
  room(lease: bigint): 'LEASE_UNKNOWN' | 'LEASE_FULL' | undefined {
    const row = this.#get(lease);
    if (row === undefined) return 'LEASE_UNKNOWN';
    return row.hanging >= MAX_HANGING ? 'LEASE_FULL' : undefined;
  }

  /** So many keys more, or fewer, end with a lease. */
  addKeys(lease: bigint, count: number): void {
    const row = this.#get(lease);
    if (row === undefined) return;
    row.keys += count;
    this.#rows.putLive(this.#row(lease), row);
  }

  /** A lock, an election or a member of a group hangs on a lease from now on. */
  add(lease: bigint, kind: HangingName, name: string): void {
    const row = this.#get(lease);
    if (row === undefined) return;
    row.add(kind, name);
    this.#rows.putLive(this.#row(lease), row);
  }

  /** It does not any more. */
  drop(lease: bigint, kind: HangingName, name: string): void {
    const row = this.#get(lease);
    if (row?.drop(kind, name) === true) this.#rows.putLive(this.#row(lease), row);
  }

  /** Large and not in a row as people choose them, and later than all before, whatever was restored. */
  #choose(clock: LeaseClock, stampMs: number): bigint {
    const byTime = BigInt(stampMs) << 20n;
    let lease = byTime > clock.lastLease ? byTime : clock.lastLease;
    do lease++;
    while (this.#get(lease) !== undefined);
    clock.lastLease = lease;
    return lease;
  }

  #setEnd(lease: bigint, endsMs: number | undefined): void {
    const row = this.#get(lease);
    if (row === undefined) return;
    row.endsMs = endsMs;
    this.#rows.putLive(this.#row(lease), row);
  }

  #clock(): LeaseClock {
    return this.#rows.live(this.#clockRow, LeaseClock.decode) ?? new LeaseClock();
  }

  #get(lease: bigint): LeaseRow | undefined {
    return this.#rows.live(this.#row(lease), LeaseRow.decode);
  }

  #row(lease: bigint): RowKey {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64BE(lease);
    return this.#prefix + bytes.toString('latin1');
  }

  #leaseOf(row: RowKey): bigint {
    return Buffer.from(row.slice(this.#prefix.length), 'latin1').readBigUInt64BE();
  }
}
