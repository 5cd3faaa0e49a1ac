/**
 * What a leader knows of one follower.
 *
 *   probe      where the logs part is not known: one message at a time
 *   replicate  entries are sent ahead of their acknowledgement, as far as the window goes
 *   snapshot   the follower needs entries that are gone: the host sends it the rows
 *
 *  1. `match` never falls, and match < next.
 *  2. A late rejection of something that was acknowledged since is ignored.
 */
import { InflightWindow } from './inflight-window.ts';
import type { RaftSettings } from './settings.ts';

export class Progress {
  readonly window: InflightWindow;
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  /** Everything up to here is durable on the follower and as on the leader. */
  match = 0;
  /** The next entry to send. */
  next: number;
  /** A probe is under way; cleared by any answer of the follower. */
  isPaused = false;
  /** The follower was heard from since quorum was last checked. */
  isActive: boolean;
  /** The last commit index sent. */
  told = 0;
  /** The heartbeat of the last beat was answered. */
  isBeatAnswered = true;
  /** Whether to send an append even without news: a lost one shows by its rejection. */
  isProbeDue = false;
  /** The newest round of reads that the follower has answered. */
  round = 0;
  /** Index of the snapshot under way, 0 while the host has not chosen it. */
  snapshotIndex = 0;

  constructor(next: number, isActive: boolean, settings: RaftSettings) {
    this.next = next;
    this.isActive = isActive;
    this.window = new InflightWindow(settings.maxInflightMessages, settings.maxInflightBytes);
  }

  becomeProbe(): void {
    this.next = Math.max(this.match, this.snapshotIndex) + 1;
    this.state = 'probe';
    this.#clear();
  }

  becomeReplicate(): void {
    this.next = this.match + 1;
    this.state = 'replicate';
    this.#clear();
  }

  becomeSnapshot(): void {
    this.state = 'snapshot';
    this.#clear();
  }

  /** Entries up to `lastIndex`, of so many bytes, were sent; with none it is `next - 1`. */
  noteSent(lastIndex: number, bytes: number): void {
    if (this.state === 'probe') {
      this.isPaused = true;
    } else if (lastIndex >= this.next) {
      this.next = lastIndex + 1;
      this.window.add(lastIndex, bytes);
    }
  }

  /** A heartbeat was answered: once a beat, what may have been lost is looked for. */
  noteBeat(lastIndex: number): void {
    if (this.isBeatAnswered) return;
    this.isBeatAnswered = true;
    this.isPaused = false;
    if (this.match < lastIndex) this.isProbeDue = true;
  }

  /** Everything up to `index` is acknowledged; returns whether that is news. Invariant 1. */
  noteAccepted(index: number): boolean {
    this.window.freeTo(index);
    const isNews = index > this.match;
    if (isNews) this.match = index;
    this.next = Math.max(this.next, this.match + 1);
    return isNews;
  }

  /** The follower does not have the entry at `prevIndex`; the logs may agree at `agreeing`. Invariant 2. */
  noteRejected(prevIndex: number, agreeing: number): void {
    if (prevIndex <= this.match || this.state === 'snapshot') return;
    if (this.state === 'replicate') {
      this.becomeProbe();
    } else if (prevIndex === this.next - 1) {
      this.next = Math.max(this.match + 1, Math.min(prevIndex, agreeing + 1));
      this.isPaused = false;
    }
  }

  #clear(): void {
    this.window.reset();
    this.isPaused = false;
    this.isProbeDue = false;
    this.snapshotIndex = 0;
  }
}
