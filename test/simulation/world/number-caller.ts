/** A caller that takes unique IDs, one by one and several at once, and numbers of sequences. */
import { sleep } from '../../../client/clock.ts';
import { between } from '../../../client/random.ts';
import type { SeededRandom } from '../../../node/runtime/simulated/seeded-random.ts';
import type { NumberChecker } from '../checkers/number-checker.ts';
import type { WorkRecorder } from './work-recorder.ts';
import type { WorldClient } from './world-client.ts';
import { pick } from './world-settings.ts';

const SEQUENCES: readonly string[] = ['orders', 'invoices'];

export interface NumberWork {
  readonly numbers: NumberChecker;
  readonly recorder: WorkRecorder;
}

export class NumberCaller {
  readonly name: string;
  readonly #client: WorldClient;
  readonly #work: NumberWork;
  readonly #random: SeededRandom;

  constructor(name: string, client: WorldClient, work: NumberWork, random: SeededRandom) {
    this.name = name;
    this.#client = client;
    this.#work = work;
    this.#random = random;
  }

  /** Works until `isOver`. */
  async run(thinkMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await sleep(this.#client.clock, -Math.log(1 - this.#random.float()) * thinkMs);
      if (!isOver()) await this.#operate(pick(this.#random, 'ids made', 'ids in stock', 'sequence'));
    }
  }

  die(): void {}

  async #operate(kind: 'ids made' | 'ids in stock' | 'sequence'): Promise<void> {
    const { recorder } = this.#work;
    try {
      if (kind === 'sequence') await this.#sequence();
      else if (kind === 'ids made') await this.#made();
      else await this.#stock();
      recorder.did(this.name, kind, '');
    } catch (error) {
      recorder.failed(this.name, kind, '', error);
    }
  }

  async #made(): Promise<void> {
    const { numbers } = this.#work;
    const known = numbers.begin();
    const ids = await this.#client.holdfast.ids.nextMany(between(this.#random, 1, 20));
    numbers.made(this.name, known, ids);
  }

  async #stock(): Promise<void> {
    for (let left = between(this.#random, 1, 30); left > 0; left--)
      this.#work.numbers.unique(this.name, await this.#client.holdfast.ids.next());
  }

  async #sequence(): Promise<void> {
    const { numbers } = this.#work;
    const name = pick(this.#random, ...SEQUENCES);
    const count = between(this.#random, 1, 5);
    const known = numbers.begin();
    const first = await this.#client.holdfast.sequence(name).next(count);
    numbers.taken(this.name, known, name, first, count);
  }
}
