/**
 * The search for a linearization of the operations of one key: Wing & Gong, "Testing and
 * Verifying Concurrent Objects" (1993), over their doubly linked list of calls and returns,
 * with the memory of visited configurations of Lowe, "Testing for linearizability" (2017),
 * kept as a set of operations and a state as in Horn & Kroening, "Faster linearizability
 * checking via P-compositionality" (2015).
 *
 * Operations that returned must be linearized. Those whose outcome is unknown may be, at
 * any time after their call; searched naively they double the configurations each. Let a
 * configuration be the set of linearized operations and the state; it can be completed if
 * the rest fits. Each rule below drops a way only if another one that is also searched can
 * be completed with fewer unknown operations, or in fewer steps; so none loses the verdict.
 *
 *  1. An unknown operation is taken only right before one that it makes a difference to:
 *     where `o` leads to the same state with and without `u` before it, the way without
 *     `u` has one more operation to spare. `helps` of the model says so without trying.
 *     Short chains of unknown operations are tried before longer ones.
 *  2. Of unknown operations that the model calls alike the one called first is taken first:
 *     the two can change places in any linearization.
 *  3. What fits and leaves the state as it is, is taken at once and nothing else is tried:
 *     wherever a linearization has it, it can be moved to the front.
 *  4. Operations with a rank are taken in its order. The model promises that no
 *     linearization has them otherwise.
 */
import { CallList, type Event, type Operation } from './call-list.ts';
import { RankOrder } from './rank-order.ts';
import { LinearizedSet, VisitedConfigurations } from './visited-configurations.ts';

/** What one key does, one operation after the other. States are never changed in place. */
export interface Model<S, O> {
  init(): S;
  /** The state after an operation; undefined: it cannot have had the result it had in this state. */
  step(state: S, operation: O): S | undefined;
  /** Tells states apart from which not the same can follow; the fewer it tells apart, the faster. */
  key(state: S): string;
  /** Whether an operation may leave the state as it is: rule 3. Default: any may. */
  isRead?(operation: O): boolean;
  /** The same for unknown operations that no operation of the history can tell apart: rule 2. */
  alike?(operation: O): string;
  /** Whether an unknown operation right before another can let it have its result: rule 1. Default: it can. */
  helps?(unknown: O, next: O): boolean;
  /** Whether an unknown operation can no longer take effect, now or after whatever else. Default: it can. */
  isPast?(state: S, unknown: O): boolean;
  /** Where an operation that returned stands among the others: rule 4. */
  rank?(operation: O): number | undefined;
}

/** The furthest that the search came. */
export interface Stuck<S, O> {
  /** Linearized, in order. */
  readonly linearized: readonly O[];
  readonly state: S;
  /** One of these has to be next, and none can. */
  readonly blocked: readonly O[];
  /** Unknown operations that did not help. */
  readonly unused: readonly O[];
}

/** Ends a search wherever it is; it cannot go on afterwards. */
class OutOfSteps extends Error {}

/** Unknown operations taken one after the other, and what that leads to. */
interface Chain<S> {
  readonly operations: readonly number[];
  readonly kinds: readonly number[];
  readonly state: S;
  readonly key: string;
  /** The state without the last of them. */
  readonly stateBefore: S;
}

export class LinearizabilitySearch<S, O extends Operation> {
  readonly #model: Model<S, O>;
  /** In the order of their calls. */
  readonly #operations: readonly O[];
  readonly #maxSteps: number;
  /** Those that returned and are not linearized. */
  readonly #calls: CallList;
  readonly #ranks: RankOrder;
  /** Unknown operations, alike ones together; and how many of each are linearized. */
  readonly #kinds: readonly { readonly operations: readonly number[]; used: number }[];
  readonly #linearized: LinearizedSet;
  readonly #visited = new VisitedConfigurations();
  /** What is linearized, in order. */
  readonly #order: number[] = [];
  #state: S;
  #key: string;
  #steps = 0;
  #stuck: Stuck<S, O> | undefined;
  #stuckLeft = Infinity;

  constructor(model: Model<S, O>, operations: readonly O[], maxSteps: number) {
    this.#model = model;
    this.#operations = operations.toSorted((a, b) => a.called - b.called);
    this.#maxSteps = maxSteps;
    this.#calls = new CallList(this.#operations);
    const rankOf = (operation: O) => (operation.returned === undefined ? undefined : model.rank?.(operation));
    this.#ranks = new RankOrder(this.#operations.map(rankOf));
    this.#kinds = unknownKinds(model, this.#operations);
    this.#linearized = new LinearizedSet(operations.length);
    this.#state = model.init();
    this.#key = model.key(this.#state);
  }

  /** Steps of the model so far. */
  get steps(): number {
    return this.#steps;
  }

  /** Undefined: nothing was stuck yet. */
  get stuck(): Stuck<S, O> | undefined {
    return this.#stuck;
  }

  /** Whether there is a linearization; undefined: the steps were not enough to tell. */
  run(): boolean | undefined {
    try {
      return this.#search();
    } catch (error) {
      if (!(error instanceof OutOfSteps)) throw error;
      this.#noteStuck();
      return undefined;
    }
  }

  #search(): boolean {
    const ways = [this.#ways()];
    while (this.#calls.size > 0) {
      const way = ways.at(-1);
      if (way === undefined) return false;
      if (way.next().done === true) ways.pop();
      else ways.push(this.#ways());
    }
    return true;
  }

  /** Takes in turn each operation that returned and can be next; before the one after it the last is undone. */
  *#ways(): Generator<void> {
    const read = this.#read();
    if (read !== undefined) {
      yield* this.#way(read, undefined, this.#state);
      return;
    }
    for (const call of this.#calls.candidates()) {
      if (this.#ranks.allows(call.operation)) yield* this.#way(call, undefined);
    }
    yield* this.#waysThroughUnknown();
    this.#noteStuck();
  }

  /** Rule 3: a call that is taken before anything else. */
  #read(): Event | undefined {
    for (const call of this.#calls.candidates()) {
      const operation = this.#operations[call.operation]!;
      if (this.#model.isRead?.(operation) === false || !this.#ranks.allows(call.operation)) continue;
      const next = this.#step(this.#state, operation);
      if (next !== undefined && this.#model.key(next) === this.#key) return call;
    }
    return undefined;
  }

  /** Takes an operation that returned, if it fits and makes use of the chain before it. */
  *#way(call: Event, after: Chain<S> | undefined, next?: S): Generator<void> {
    const operation = this.#operations[call.operation]!;
    const state = next ?? this.#step(this.#state, operation);
    if (state === undefined) return;
    const key = this.#model.key(state);
    if (after !== undefined && this.#comesTo(key, after.stateBefore, operation)) return;
    if (!this.#visit(call.operation, key)) return;
    const [stateBefore, keyBefore] = [this.#state, this.#key];
    [this.#state, this.#key] = [state, key];
    this.#calls.lift(call);
    this.#ranks.take(call.operation);
    yield;
    this.#ranks.giveBack(call.operation);
    this.#calls.unlift(call);
    [this.#state, this.#key] = [stateBefore, keyBefore];
    this.#leave(call.operation);
  }

  /** Rules 1 and 2. */
  *#waysThroughUnknown(): Generator<void> {
    const useful = this.#usefulKinds();
    if (useful.length === 0) return;
    const start = { operations: [], kinds: [], state: this.#state, key: this.#key, stateBefore: this.#state };
    const chains: Chain<S>[] = [start];
    for (const chain of chains) {
      this.#follow(chain);
      const last = chain.operations.at(-1);
      if (last !== undefined) {
        for (const call of this.#calls.candidates()) {
          if (this.#ranks.allows(call.operation) && this.#helps(last, call.operation))
            yield* this.#way(call, chain);
        }
      }
      for (const kind of useful) {
        const longer = this.#longer(chain, kind);
        if (longer !== undefined) chains.push(longer);
      }
      this.#unfollow(chain, start);
    }
  }

  /** Unknown operations that help one that may be next, or help one that does. */
  #usefulKinds(): number[] {
    const deadline = this.#deadline;
    const left = new Set<number>();
    for (const [kind, { operations, used }] of this.#kinds.entries()) {
      const next = this.#operations[operations[used] ?? -1];
      if (next === undefined || next.called > deadline) continue;
      if (this.#model.isPast?.(this.#state, next) !== true) left.add(kind);
    }
    const calls = [...this.#calls.candidates()].map(({ operation }) => operation);
    const useful: number[] = [];
    let helped = calls.filter((operation) => this.#ranks.allows(operation));
    while (helped.length > 0) {
      const helping = [...left].filter((kind) => {
        const { operations } = this.#kinds[kind]!;
        return helped.some((operation) => this.#helps(operations[0]!, operation));
      });
      for (const kind of helping) left.delete(kind);
      useful.push(...helping);
      helped = helping.map((kind) => this.#kinds[kind]!.operations[0]!);
    }
    return useful;
  }

  /** A chain with one more unknown operation of a kind. */
  #longer(chain: Chain<S>, kind: number): Chain<S> | undefined {
    const { operations, used } = this.#kinds[kind]!;
    const index = operations[used];
    if (index === undefined || this.#operations[index]!.called > this.#deadline) return undefined;
    const last = chain.operations.at(-1);
    if (last !== undefined && !this.#helps(last, index)) return undefined;
    const state = this.#step(this.#state, this.#operations[index]!);
    if (state === undefined) return undefined;
    const key = this.#model.key(state);
    if (key === this.#key) return undefined;
    if (last !== undefined && this.#comesTo(key, chain.stateBefore, this.#operations[index]!))
      return undefined;
    if (!this.#visit(index, key)) return undefined;
    this.#leave(index);
    return {
      operations: [...chain.operations, index],
      kinds: [...chain.kinds, kind],
      state,
      key,
      stateBefore: chain.state,
    };
  }

  #follow({ operations, kinds, state, key }: Chain<S>): void {
    for (const index of operations) this.#enter(index);
    for (const kind of kinds) this.#kinds[kind]!.used++;
    [this.#state, this.#key] = [state, key];
  }

  #unfollow({ operations, kinds }: Chain<S>, { state, key }: Chain<S>): void {
    for (const index of operations.toReversed()) this.#leave(index);
    for (const kind of kinds) this.#kinds[kind]!.used--;
    [this.#state, this.#key] = [state, key];
  }

  #helps(unknown: number, next: number): boolean {
    return this.#model.helps?.(this.#operations[unknown]!, this.#operations[next]!) ?? true;
  }

  /** Rule 1: whether an operation leads to the same from another state. */
  #comesTo(key: string, state: S, operation: O): boolean {
    const without = this.#step(state, operation);
    return without !== undefined && this.#model.key(without) === key;
  }

  /** Enters the configuration with one more operation; false: the search has been there. */
  #visit(index: number, key: string): boolean {
    this.#enter(index);
    if (this.#visited.add(this.#linearized, key)) return true;
    this.#leave(index);
    return false;
  }

  #enter(index: number): void {
    this.#linearized.toggle(index);
    this.#order.push(index);
  }

  #leave(index: number): void {
    this.#linearized.toggle(index);
    this.#order.pop();
  }

  #step(state: S, operation: O): S | undefined {
    if (this.#steps >= this.#maxSteps) throw new OutOfSteps();
    this.#steps++;
    return this.#model.step(state, operation);
  }

  /** What is called later has to wait for an operation that has not been linearized. */
  get #deadline(): number {
    return this.#operations[this.#calls.firstReturned]!.returned!;
  }

  #noteStuck(): void {
    if (this.#calls.size >= this.#stuckLeft) return;
    this.#stuckLeft = this.#calls.size;
    const operation = (index: number) => this.#operations[index]!;
    const deadline = this.#deadline;
    const unused = this.#kinds.flatMap(({ operations, used }) => operations.slice(used).map(operation));
    this.#stuck = {
      linearized: this.#order.map(operation),
      state: this.#state,
      blocked: [...this.#calls.candidates()].map((call) => operation(call.operation)),
      unused: unused.filter(({ called }) => called <= deadline),
    };
  }
}

function unknownKinds<O extends Operation>(model: Pick<Model<never, O>, 'alike'>, operations: readonly O[]) {
  const indexes = [...operations.keys()].filter((index) => operations[index]!.returned === undefined);
  const kinds = Map.groupBy(indexes, (index) => model.alike?.(operations[index]!) ?? String(index));
  return Array.from(kinds.values(), (ofKind) => ({ operations: ofKind, used: 0 }));
}
