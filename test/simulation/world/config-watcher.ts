/** Follows keys of the configuration, leaves, and goes on where it was. */
import { sleep } from '../../../client/clock.ts';
import type { ConfigEvent, WatchItem } from '../../../client/config/config-event.ts';
import type { ConfigWatch } from '../../../client/config/config-watch.ts';
import { between } from '../../../client/random.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import { WatchChecker, type ToldEvent, type WatchPlan } from '../checkers/watch-checker.ts';
import { readEntry, type ConfigWork } from './config-caller.ts';
import { isSelected, somePlan, type SelectionPlan } from './config-plan.ts';
import type { WorldClient } from './world-client.ts';

export class ConfigWatcher {
  readonly name: string;
  readonly #client: WorldClient;
  readonly #work: ConfigWork;
  readonly #random: SeededRandom;
  #checker: WatchChecker | undefined;
  #watch: ConfigWatch | undefined;
  #isOver = false;

  constructor(name: string, client: WorldClient, work: ConfigWork, random: SeededRandom) {
    this.name = name;
    this.#client = client;
    this.#work = work;
    this.#random = random;
  }

  /** Follows until it is stopped. */
  async run(): Promise<void> {
    const { config, recorder } = this.#work;
    while (!this.#isOver) {
      const selection = somePlan(this.#random);
      const plan = this.#plan(selection);
      const from = this.#random.chance(0.6)
        ? Math.max(1, config.known - between(this.#random, -3, 30))
        : undefined;
      this.#checker = new WatchChecker(this.name, plan, config, from);
      let position: bigint | number | undefined = from;
      for (let times = between(this.#random, 1, 3); times > 0 && !this.#isOver; times--) {
        recorder.did(
          this.name,
          position === from ? 'watch begun' : 'watch resumed',
          `${plan.what} from ${position}`,
        );
        position = await this.#follow(selection, plan, position);
      }
    }
  }

  stop(): void {
    this.#isOver = true;
    this.#watch?.close();
  }

  /** It was told of everything. */
  get isCaughtUp(): boolean {
    return this.#checker?.isCaughtUp ?? true;
  }

  toString(): string {
    return String(this.#checker ?? this.name);
  }

  #plan({ what, span }: SelectionPlan): WatchPlan {
    const isFiltered = this.#random.chance(0.3);
    const puts = !isFiltered || this.#random.chance(0.5);
    const previous = this.#random.chance(0.3);
    return { what, selects: (key) => isSelected(span, key), puts, deletes: !isFiltered || !puts, previous };
  }

  /** Until it has had enough; returns where to go on. */
  async #follow(
    { selection }: SelectionPlan,
    { puts, deletes, previous }: WatchPlan,
    from: bigint | number | undefined,
  ): Promise<bigint> {
    const isSlow = this.#random.chance(0.3);
    const watch = this.#client.holdfast.config.watch(selection, {
      from,
      puts,
      deletes,
      previous,
      progress: this.#random.chance(0.5),
      ...(isSlow && { maxBufferedBytes: 500 }),
    });
    this.#watch = watch;
    await watch.started();
    this.#checker!.started(Number(watch.position), this.#work.config.revision);
    let position = watch.position;
    for (let items = between(this.#random, 2, 12); items > 0; items--) {
      const { value } = await watch.next();
      if (value === undefined) break;
      this.#told(value);
      position = value.revision + 1n;
      if (isSlow) await sleep(this.#client.clock, this.#random.float() * 300);
    }
    watch.close();
    return position;
  }

  #told(item: WatchItem): void {
    const checker = this.#checker!;
    const { recorder } = this.#work;
    const revision = Number(item.revision);
    recorder.did(this.name, `watch ${item.type}`, String(revision));
    if (item.type === 'changes') checker.changes(revision, item.events.map(toldEvent));
    else if (item.type === 'progress') checker.progress(revision);
    else checker.resync(revision);
  }
}

function toldEvent({ type, entry, previous, revision }: ConfigEvent): ToldEvent {
  return {
    isDelete: type === 'delete',
    key: String(entry.key),
    revision,
    entry: type === 'delete' ? undefined : readEntry(entry),
    previous: previous && readEntry(previous),
  };
}
