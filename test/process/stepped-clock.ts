/**
 * A wall clock for one process that can be set while it runs: libfaketime, told by a file.
 * Monotonic time goes on as it is.
 */
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

const LIBRARY = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0];
/** How soon a process looks whether its clock was set. */
export const CLOCK_LOOK_MS = 1_000;

export class SteppedClock implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-clock-'));
  readonly #file = join(this.#directory, 'offset');

  constructor() {
    this.set(0);
  }

  /** What the process is started with. */
  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: LIBRARY!,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: String(CLOCK_LOOK_MS / 1_000),
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DONT_RESET: '1',
    };
  }

  /** So many seconds from the machine's, within a second. */
  set(seconds: number): void {
    writeFileSync(this.#file, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function findObstacle(): string | undefined {
  if (LIBRARY === undefined) return 'libfaketime (Debian: faketime) is not installed';
  using clock = new SteppedClock();
  clock.set(-1_000_000);
  const startMs = Date.now();
  const script = 'console.log(Date.now(), performance.now())';
  const { stdout } = spawnSync(process.execPath, ['-e', script], { env: { ...process.env, ...clock.env } });
  const [wallMs, monotonicMs] = String(stdout).split(' ').map(Number);
  const isSet = Math.abs(startMs - 1_000_000_000 - wallMs!) < 60_000;
  return isSet && monotonicMs! < 60_000 ? undefined : 'this Node.js does not take its time from libfaketime';
}

/** Why no clock can be set here; undefined: it can. */
export const CANNOT_STEP = findObstacle();
