import type { Disk, DiskFile } from '../disk.ts';
import type { CrashPolicy } from './crash-policy.ts';
import { DiskFaults, type DiskFault, type DiskOperation } from './disk-faults.ts';
import { InjectionCounts } from './injection-counts.ts';
import type { SeededRandom } from './seeded-random.ts';
import { SimulatedDiskFile, type DiskOperations, type OperationSteps } from './simulated-disk-file.ts';
import type { EventQueue } from './simulated-scheduler.ts';
import { SimulatedTree, diskError } from './simulated-tree.ts';

/** Settings of a simulated disk; all of them can be changed while it runs. */
export interface DiskConditions {
  /** Bytes that all files together may have. Default 1 TiB. Beyond: ENOSPC. */
  capacityBytes: number;
  /** Every change fails with EROFS. */
  isReadOnly: boolean;
  /** Shortest and longest time of an operation, in milliseconds of virtual time. Default 0.02 to 0.2. */
  latencyMs: readonly [least: number, most: number];
  /** The same for syncs of files and directories. Default 0.2 to 1. */
  syncLatencyMs: readonly [least: number, most: number];
  /** All times are multiplied by this: a slow disk. Default 1. */
  slowdown: number;
}

/** The content of a disk, for rolled-back and copied directories. */
export interface DiskImage {
  readonly directories: readonly string[];
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** Where the machine fails: before the operation has any effect, in the middle of it, or before it is answered. */
export type CrashMoment = 'before' | 'torn' | 'after';

const CHANGES: ReadonlySet<DiskOperation> = new Set<DiskOperation>([
  'make-directory',
  'remove-directory',
  'remove',
  'rename',
  'write',
  'truncate',
]);

/**
 * A disk in memory that can lose, tear, reorder, refuse and damage what is written, by
 * chance from its seed or exactly where a test says. One object is one run of the
 * machine: `crash` and `kill` end it, and give the disk that the next run finds. No
 * promise of an ended disk ever settles, so what used it stands still for ever.
 */
export class SimulatedDisk implements Disk {
  readonly conditions: DiskConditions;
  /** Failures to inject. */
  readonly faults: DiskFaults;
  /** What was injected, over all runs: fail-write, crash, flip-bit, … */
  readonly injections: InjectionCounts;
  readonly #queue: EventQueue;
  readonly #random: SeededRandom;
  #tree = new SimulatedTree();
  #operations = 0;
  #runs = 0;
  #isEnded = false;
  #crashPoint: { operation: number; moment: CrashMoment; onCrash: () => void } | undefined;
  readonly #inFlight = new Set<OperationSteps<unknown>>();
  readonly #access: DiskOperations;

  /** An empty disk; `queue` is the world's scheduler or the process that uses the disk. */
  constructor(
    queue: EventQueue,
    random: SeededRandom,
    conditions: Partial<DiskConditions> = {},
    injections = new InjectionCounts(),
  ) {
    this.#queue = queue;
    this.#random = random;
    this.conditions = { ...DEFAULT_CONDITIONS, ...conditions };
    this.injections = injections;
    this.faults = new DiskFaults(injections);
    this.#access = {
      perform: (operation, path, steps) => this.#perform(operation, path, steps),
      growthLeft: () => this.#growthLeft(),
      random,
    };
  }

  /** Operations begun in this run. The first has the number 1. */
  get operations(): number {
    return this.#operations;
  }

  /** True after `crash`, `kill`, or the point set with `crashAt`. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  open(path: string, mode: 'existing' | 'create'): Promise<DiskFile> {
    const complete = () => {
      if (mode === 'create' && this.conditions.isReadOnly) throw diskError('EROFS', 'read-only disk');
      const file = mode === 'create' ? this.#tree.create(path) : this.#tree.file(path);
      return new SimulatedDiskFile(this.#access, path, file);
    };
    return this.#perform('open', path, { complete });
  }

  read(path: string): Promise<Uint8Array> {
    const complete = () => {
      const file = this.#tree.file(path);
      return file.read(0, file.size);
    };
    return this.#perform('read', path, { complete });
  }

  list(directory: string): Promise<string[]> {
    return this.#perform('list', directory, { complete: () => this.#tree.list(directory) });
  }

  makeDirectory(directory: string): Promise<void> {
    const complete = () => this.#tree.makeDirectory(directory);
    return this.#perform('make-directory', directory, { complete });
  }

  removeDirectory(directory: string): Promise<void> {
    const complete = () => this.#tree.removeDirectory(directory);
    return this.#perform('remove-directory', directory, { complete });
  }

  remove(path: string): Promise<void> {
    return this.#perform('remove', path, { complete: () => this.#tree.remove(path) });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#perform('rename', from, { complete: () => this.#tree.rename(from, to) });
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#perform('sync-directory', directory, { complete: () => this.#tree.sync(directory) });
  }

  freeBytes(): Promise<number> {
    return this.#perform('free-bytes', '', { complete: () => this.#growthLeft() });
  }

  /**
   * Ends this run at operation number `operation`, counted in this run, then calls
   * `onCrash`; the test goes on with `crash` or `kill`. `torn` leaves a random part of the
   * sectors of a write or sync, and all or nothing of any other operation.
   */
  crashAt(operation: number, moment: CrashMoment, onCrash: () => void = () => undefined): void {
    this.#crashPoint = { operation, moment, onCrash };
  }

  /** The power fails. The disk of the next run, on `queue`, holds what was synced and what `policy` keeps. */
  crash(policy: CrashPolicy = 'seeded', queue: EventQueue = this.#queue): SimulatedDisk {
    this.injections.note('crash');
    this.#endInFlight(policy);
    this.#tree.crash(policy, this.#random);
    return this.#nextRun(queue);
  }

  /** The process dies and the machine does not: the next run sees all writes, and the unsynced are still so. */
  kill(queue: EventQueue = this.#queue): SimulatedDisk {
    this.injections.note('kill');
    this.#isEnded = true;
    for (const steps of this.#inFlight) {
      if (!steps.isOfMachine) this.#tear(steps);
      else if (this.#random.chance(0.5)) attempt(steps.complete);
    }
    this.#inFlight.clear();
    return this.#nextRun(queue);
  }

  /** The machine has had time to write everything that was changed. Only between two runs. */
  writeBack(): void {
    this.#tree.writeBack();
  }

  /** Turns one bit over (`bit` 0 to 7 of the byte at `position`), on the medium and for readers. */
  flipBit(path: string, position: number, bit: number): void {
    const file = this.#tree.file(path);
    const byte = file.read(position, 1)[0];
    if (byte === undefined) throw new RangeError(`${path} ends before ${position}`);
    file.overwrite(position, Uint8Array.of(byte ^ (1 << bit)));
    this.injections.note('flip-bit');
  }

  /** Cuts a file to `size` bytes, durably. */
  cut(path: string, size: number): void {
    const file = this.#tree.file(path);
    this.#tree.plant(path, file.read(0, size));
    this.injections.note('cut');
  }

  /** Puts a file with this content there, durably. Handles that are open keep the old one. */
  replace(path: string, content: Uint8Array): void {
    this.#tree.plant(path, content);
    this.injections.note('replace');
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    return this.#tree.paths();
  }

  /** What readers see in a file, or in its first bytes, now; no operation, takes no time. */
  peek(path: string, length = Infinity): Uint8Array {
    const file = this.#tree.file(path);
    return file.read(0, Math.min(length, file.size));
  }

  /** A copy of everything as readers see it now. */
  snapshot(): DiskImage {
    const files = new Map(this.#tree.paths().map((path) => [path, this.peek(path)]));
    return { directories: this.#tree.directories(), files };
  }

  /** Puts an earlier (or another disk's) content in place of everything, durably. Only between two runs. */
  restore(image: DiskImage): void {
    this.#tree = new SimulatedTree();
    for (const directory of image.directories) this.#tree.plantDirectory(directory);
    for (const [path, content] of image.files) this.#tree.plant(path, content);
    this.injections.note('restore');
  }

  #perform<T>(operation: DiskOperation, path: string, steps: OperationSteps<T>): Promise<T> {
    if (this.#isEnded) return new Promise<T>(() => undefined);
    this.#operations++;
    if (this.#operations === this.#crashPoint?.operation) {
      this.#endAtCrashPoint(steps);
      return new Promise<T>(() => undefined);
    }
    const fault = this.#faultFor(operation, path);
    this.#inFlight.add(steps);
    return new Promise((resolve, reject) => {
      this.#queue.after(this.#latencyMs(operation), () => {
        if (this.#isEnded) return;
        this.#inFlight.delete(steps);
        try {
          if (fault === undefined) return resolve(steps.complete());
          steps.fail?.(fault);
          reject(diskError(fault.code ?? 'EIO', `injected failure of ${operation} ${path}`));
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }

  #faultFor(operation: DiskOperation, path: string): DiskFault | undefined {
    if (this.conditions.isReadOnly && CHANGES.has(operation)) {
      this.injections.note('read-only');
      return { operation, code: 'EROFS', data: 'lost' };
    }
    return this.faults.take(operation, path);
  }

  #latencyMs(operation: DiskOperation): number {
    const isSync = operation === 'sync' || operation === 'sync-directory';
    const [least, most] = isSync ? this.conditions.syncLatencyMs : this.conditions.latencyMs;
    return (least + (most - least) * this.#random.float()) * this.conditions.slowdown;
  }

  #growthLeft(): number {
    return Math.max(0, this.conditions.capacityBytes - this.#tree.usedBytes());
  }

  #endAtCrashPoint(steps: OperationSteps<unknown>): void {
    const { moment, onCrash } = this.#crashPoint!;
    if (moment === 'torn') this.#tear(steps);
    else if (moment === 'after') attempt(steps.complete);
    this.#isEnded = true;
    onCrash();
  }

  /** What was under way when the run ended is done in part, unless the policy says otherwise. */
  #endInFlight(policy: CrashPolicy): void {
    this.#isEnded = true;
    if (policy === 'keep-all') for (const steps of this.#inFlight) attempt(steps.complete);
    else if (policy !== 'lose-all') for (const steps of this.#inFlight) this.#tear(steps);
    this.#inFlight.clear();
  }

  #tear(steps: OperationSteps<unknown>): void {
    if (steps.tear !== undefined) attempt(steps.tear);
    else if (this.#random.chance(0.5)) attempt(steps.complete);
  }

  #nextRun(queue: EventQueue): SimulatedDisk {
    const random = this.#random.fork(`run-${++this.#runs}`);
    const next = new SimulatedDisk(queue, random, this.conditions, this.injections);
    next.#tree = this.#tree;
    return next;
  }
}

const DEFAULT_CONDITIONS: DiskConditions = {
  capacityBytes: 2 ** 40,
  isReadOnly: false,
  latencyMs: [0.02, 0.2],
  syncLatencyMs: [0.2, 1],
  slowdown: 1,
};

/** Nobody hears of the error of an operation that is never answered. */
function attempt(effect: () => unknown): void {
  try {
    effect();
  } catch {
    // As if it had not begun.
  }
}
