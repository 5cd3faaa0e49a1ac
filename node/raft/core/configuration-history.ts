/**
 * The configurations that stand in the log, newest last. The newest one counts from the
 * moment it is in the log, committed or not (Raft paper, section 6); when its entry is
 * cut off, the one before counts again.
 */
import { isVoter, type Configuration, type ReplicaId } from './configuration.ts';

interface ConfigurationPoint {
  readonly index: number;
  readonly configuration: Configuration;
}

export class ConfigurationHistory {
  #points: ConfigurationPoint[];

  constructor(index: number, configuration: Configuration) {
    this.#points = [{ index, configuration }];
  }

  get current(): Configuration {
    return this.#points.at(-1)!.configuration;
  }

  /** Index of the entry that the current configuration comes from. */
  get currentIndex(): number {
    return this.#points.at(-1)!.index;
  }

  /** The configuration as of an entry that is not compacted. */
  at(index: number): Configuration {
    return this.#points.findLast((point) => point.index <= index)!.configuration;
  }

  /** Whether a replica votes in the last committed configuration or in one after it. */
  isVoterSince(committed: number, replica: ReplicaId): boolean {
    const from = Math.max(
      0,
      this.#points.findLastIndex((point) => point.index <= committed),
    );
    return this.#points.slice(from).some((point) => isVoter(point.configuration, replica));
  }

  append(index: number, configuration: Configuration): void {
    this.#points.push({ index, configuration });
  }

  truncate(index: number): void {
    while (this.#points.at(-1)!.index >= index) this.#points.pop();
  }

  compact(index: number): void {
    const kept = this.#points.findLastIndex((point) => point.index <= index);
    this.#points.splice(0, kept);
  }
}
