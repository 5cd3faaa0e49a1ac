/**
 * Checks the files of a LevelDB before it is opened. LevelDB itself skips a damaged
 * record of its log and opens with whatever a shortened MANIFEST names, and both
 * lose data without an error; a flipped bit in a table makes rows change or vanish.
 *
 * File format: LevelDB's `doc/log_format.md`. Blocks of 32 KiB; records of checksum
 * (masked CRC-32C over type and content), 16-bit length, type, content.
 *
 *  1. A record that fails its checksum and is followed by another is damage.
 *  2. An incomplete last record may be the write that a crash interrupted. It is
 *     allowed, because what it could have lost is found out after opening, by comparing
 *     the store's flush number with the mark in our own log.
 *  3. A MANIFEST without one whole record is damage: LevelDB would open empty and
 *     delete every table.
 */
import type { Disk } from '../runtime/disk.ts';
import { asBuffer } from './byte-codec.ts';
import { crc32c, unmask } from './level-checksum.ts';
import { liveTables } from './level-manifest.ts';
import { verifyTable } from './level-table.ts';

const BLOCK_BYTES = 32_768;
const HEADER_BYTES = 7;
/** Bytes of tables that are checked before opening; the rest is left to the scrubber. */
const TABLE_BYTES = 2 * 1024 * 1024 * 1024;

/** What is wrong with the store's files; empty: nothing. */
export async function verifyLevelFiles(disk: Disk, directory: string): Promise<string[]> {
  const names = await disk.list(directory);
  if (names.length === 0) return [];
  if (!names.includes('CURRENT')) {
    return names.some((name) => /\.(ldb|sst)$|^MANIFEST-/.test(name))
      ? [`${directory}/CURRENT is missing`]
      : [];
  }
  const current = asBuffer(await disk.read(`${directory}/CURRENT`)).toString('latin1');
  const manifest = /^(MANIFEST-\d+)\n$/.exec(current)?.[1];
  if (manifest === undefined) return [`${directory}/CURRENT does not name a MANIFEST`];
  if (!names.includes(manifest)) return [`${directory}/${manifest} is missing`];
  const problems: string[] = [];
  for (const name of [manifest, ...names.filter((name) => /^\d+\.log$/.test(name))]) {
    const problem = verifyRecords(asBuffer(await disk.read(`${directory}/${name}`)), name === manifest);
    if (problem !== undefined) problems.push(`${directory}/${name}: ${problem}`);
  }
  if (problems.length > 0) return problems;
  return verifyTables(disk, directory, await liveNames(disk, directory, names, manifest));
}

/** Names of the tables that the store lives of, in order; one that is not there is LevelDB's to refuse. */
async function liveNames(
  disk: Disk,
  directory: string,
  names: readonly string[],
  manifest: string,
): Promise<string[]> {
  const live = liveTables(asBuffer(await disk.read(`${directory}/${manifest}`)));
  return names.filter((name) => isTable(name) && live.has(Number.parseInt(name, 10)));
}

/** A table by its name. */
function isTable(name: string): boolean {
  return /\.(ldb|sst)$/.test(name);
}

async function verifyTables(disk: Disk, directory: string, names: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  let checked = 0;
  for (const name of names) {
    const bytes = asBuffer(await disk.read(`${directory}/${name}`));
    const problem = verifyTable(bytes);
    if (problem !== undefined) problems.push(`${directory}/${name}: ${problem}`);
    checked += bytes.length;
    if (checked >= TABLE_BYTES) break;
  }
  return problems;
}

/**
 * Checks the live table that follows `after` in order of names; undefined at the end. A
 * table that LevelDB has removed meanwhile is sound.
 */
export async function verifyNextTable(
  disk: Disk,
  directory: string,
  after: string,
): Promise<{ name: string; problem: string | undefined } | undefined> {
  const names = await disk.list(directory);
  const manifest = asBuffer(await disk.read(`${directory}/CURRENT`))
    .toString('latin1')
    .trim();
  const name = (await liveNames(disk, directory, names, manifest)).find((each) => each > after);
  if (name === undefined) return undefined;
  try {
    return { name, problem: verifyTable(asBuffer(await disk.read(`${directory}/${name}`))) };
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return { name, problem: undefined };
    throw error;
  }
}

/** What is wrong with the bytes of a LevelDB log or MANIFEST file. Invariants 1 to 3. */
export function verifyRecords(bytes: Buffer, mustHoldRecord: boolean): string | undefined {
  let at = 0;
  let bad: number | undefined;
  let whole = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    const length = bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6]!;
    if (type === 0 && length === 0) {
      at += left; // the rest of the block was never written
      continue;
    }
    const sound =
      length + HEADER_BYTES <= left &&
      at + HEADER_BYTES + length <= bytes.length &&
      checksumHolds(bytes, at, length);
    if (sound && bad !== undefined) return `record at ${bad} is damaged`;
    if (sound && (type === 1 || type === 4)) whole++;
    if (!sound) bad ??= at;
    at += sound || length + HEADER_BYTES <= left ? HEADER_BYTES + length : left;
  }
  if (mustHoldRecord && whole === 0) return 'holds no whole record';
  return undefined;
}

function checksumHolds(bytes: Buffer, at: number, length: number): boolean {
  return unmask(bytes.readUInt32LE(at)) === crc32c(bytes, at + 6, at + HEADER_BYTES + length);
}
