/**
 * Zones: what fails together, such as a rack or a building. Copies of a group stand in as many as
 * there are, and that comes before even loads: a zone that fails is to take as few copies as can
 * be. A node that has none is a zone of its own. Pure.
 */

/** A node as far as its place matters. */
export interface ZonedNode {
  readonly id: number;
  readonly name: string;
  /** Undefined or empty: none. */
  readonly zone?: string | undefined;
}

export class Zones {
  readonly #zoneOf: ReadonlyMap<number, string>;
  /** Nodes in each. */
  readonly #sizes = new Map<string, number>();

  constructor(nodes: readonly ZonedNode[]) {
    this.#zoneOf = new Map(
      nodes.map(({ id, zone = '' }) => [id, zone === '' ? `alone ${id}` : `zone ${zone}`]),
    );
    for (const zone of this.#zoneOf.values()) this.#sizes.set(zone, (this.#sizes.get(zone) ?? 0) + 1);
  }

  /** How many of some nodes stand in the zone of this one. */
  countWith(id: number, nodes: readonly number[]): number {
    const zone = this.#zoneOf.get(id);
    return nodes.filter((one) => this.#zoneOf.get(one) === zone).length;
  }

  /** Whether copies on `nodes` fail together no more than now when `from` is exchanged for `to`. */
  mayExchange(nodes: readonly number[], from: number, to: number): boolean {
    const others = nodes.filter((id) => id !== from);
    return this.countWith(to, others) <= this.countWith(from, others);
  }

  /**
   * How many copies each node is to hold at most if the zones are to differ as far as they can:
   * each zone as many as its nodes' even share, but no more than it may have of each group.
   * `groups`: how many there are of so many copies. With zones of one size, or none, that is the
   * mean for all.
   */
  shares(groups: ReadonlyMap<number, number>): Map<number, number> {
    const sum = (most: (copies: number) => number) =>
      [...groups].reduce((so, [copies, count]) => so + most(copies) * count, 0);
    const total = sum((copies) => copies);
    const zones = this.#sizes.size;
    const caps = new Map<string, number>();
    for (const [zone, size] of this.#sizes)
      caps.set(
        zone,
        sum((copies) => Math.min(size, Math.ceil(copies / zones))),
      );
    const held = this.#fill(total, caps);
    return new Map([...this.#zoneOf].map(([id, zone]) => [id, held.get(zone)! / this.#sizes.get(zone)!]));
  }

  /** Copies of each zone: evenly by nodes, and what the caps leave over again evenly. */
  #fill(total: number, caps: ReadonlyMap<string, number>): Map<string, number> {
    const held = new Map<string, number>();
    let left = total;
    // The most crowded first: those that their caps hold back are known when the others' turn comes.
    const byRoom = [...this.#sizes].sort(([a, x], [b, y]) => caps.get(a)! / x - caps.get(b)! / y);
    let nodes = byRoom.reduce((sum, [, size]) => sum + size, 0);
    for (const [zone, size] of byRoom) {
      const share = Math.min(caps.get(zone)!, (left * size) / nodes);
      held.set(zone, share);
      left -= share;
      nodes -= size;
    }
    return held;
  }
}
