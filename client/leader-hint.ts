import { blamesEndpoint } from './core.ts';
import type { HoldfastError } from './error.ts';

/**
 * Who leads group 0 as far as this client knows, and whether that group knows this client.
 * Only a hint: any node takes any call, and one that does not lead says who does.
 */
export class LeaderHint {
  #leader: string | undefined;
  #isOpened = false;

  /** Where calls to group 0 go first; undefined: not known. */
  get leader(): string | undefined {
    return this.#leader;
  }

  /** Whether the first attempt of a write must be flagged `open`: none was answered yet. */
  get mustOpen(): boolean {
    return !this.#isOpened;
  }

  /** A write was answered here: only the leader does that. */
  wroteAt(endpoint: string): void {
    this.#leader = endpoint;
  }

  /** A write with a sequence was answered: the group knows this client. */
  opened(): void {
    this.#isOpened = true;
  }

  /** It has not answered for long: it hangs, or is cut off. */
  silentAt(endpoint: string): void {
    if (this.#leader === endpoint) this.#leader = undefined;
  }

  /** A call was refused here. */
  refusedAt(endpoint: string, error: HoldfastError): void {
    if (error.reason === 'CLIENT_EXPIRED') this.#isOpened = false;
    if (error.leader !== undefined) this.#leader = error.leader;
    else if (this.#leader === endpoint && (error.reason === 'NOT_LEADER' || blamesEndpoint(error)))
      this.#leader = undefined;
  }
}
