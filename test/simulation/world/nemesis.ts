/** Injects faults, of kinds and at rates that are drawn for each run, and undoes them in the end. */
import { DISK_FAULTS } from './disk-faults.ts';
import type { FaultKind, FaultScene, Lasting } from './fault.ts';
import { GROUP_FAULTS } from './group-faults.ts';
import { LINK_FAULTS } from './link-faults.ts';
import { MEMBER_FAULTS } from './member-faults.ts';
import { OPERATOR_FAULTS } from './operator-faults.ts';
import { PROCESS_FAULTS } from './process-faults.ts';

/** All kinds there are. */
export const FAULT_KINDS: readonly FaultKind[] = [
  ...PROCESS_FAULTS,
  ...DISK_FAULTS,
  ...LINK_FAULTS,
  ...MEMBER_FAULTS,
  ...GROUP_FAULTS,
  ...OPERATOR_FAULTS,
];

/** The names that are those of no kind. */
export function unknownKinds(names: readonly string[]): string[] {
  return names.filter((name) => !FAULT_KINDS.some((kind) => kind.name === name));
}

/** Share of kinds that a run has: with fewer, each gets further. */
const SHARE = 0.45;

/** What the world gives: the rest is the nemesis' own. */
export type Surroundings = Omit<FaultScene, 'quiet'>;

export class Nemesis {
  readonly #scene: FaultScene;
  readonly #counts = new Map<string, number>();
  readonly #kinds: readonly FaultKind[];
  readonly #active = new Set<Lasting>();
  #isOver = false;
  #quietUntilMs = 0;

  /** `only`: these kinds, all of them; else a share that is drawn. */
  constructor(around: Surroundings, only: readonly string[] | undefined) {
    const quiet = (forMs: number) => this.#quiet(forMs);
    const scene = { ...around, quiet };
    this.#scene = scene;
    const { random, nodes } = scene;
    this.#kinds = FAULT_KINDS.filter(({ leastNodes = 1 }) => leastNodes <= nodes.length);
    for (const kind of this.#kinds) {
      const [least, most] = kind.everyMs;
      const everyMs = least + (most - least) * random.float();
      const isChosen = random.chance(SHARE);
      if (only?.includes(kind.name) ?? isChosen) this.#next(kind, everyMs);
    }
  }

  /** Ends what lasts and injects nothing for so long, nor what was laid out before. */
  #quiet(forMs: number): void {
    const { scheduler, nodes } = this.#scene;
    this.#healAll();
    this.#quietUntilMs = scheduler.nowMs() + forMs;
    for (const { disk } of nodes) disk.faults.clear();
  }

  /** How often each kind was really injected; those that mean something with so many nodes. */
  injections(): Record<string, number> {
    return Object.fromEntries(
      this.#kinds.map(({ name, met }) => [name, met?.(this.#scene) ?? this.#counts.get(name) ?? 0]),
    );
  }

  /** Injects nothing any more and undoes what lasts. */
  stop(): void {
    this.#isOver = true;
    this.#healAll();
  }

  #healAll(): void {
    for (const lasting of this.#active) lasting.heal();
    this.#active.clear();
  }

  #next(kind: FaultKind, everyMs: number): void {
    const { random, scheduler } = this.#scene;
    scheduler.after(-Math.log(1 - random.float()) * everyMs, () => {
      if (this.#isOver) return;
      if (scheduler.nowMs() >= this.#quietUntilMs) this.#inject(kind);
      this.#next(kind, everyMs);
    });
  }

  #inject(kind: FaultKind): void {
    const injected = kind.inject(this.#scene);
    if (injected === undefined) return;
    this.#counts.set(kind.name, (this.#counts.get(kind.name) ?? 0) + 1);
    if (injected === 'done') return;
    this.#active.add(injected);
    this.#scene.scheduler.after(injected.forMs, () => {
      if (this.#active.delete(injected)) injected.heal();
    });
  }
}
