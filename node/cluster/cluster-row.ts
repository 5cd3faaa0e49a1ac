/** Checks of what is written under `/holdfast/` by this folder. */
import { MEMBER_TABLE } from './cluster-members.ts';
import { decodePlacement, PLACEMENTS } from './group-placements.ts';
import { decodeTable } from './member-codec.ts';

/** Error: what is written at this key of the tree cannot be read, and no node could apply it. */
export function checkClusterRow(key: string, value: Uint8Array | undefined): void {
  if (value === undefined) return;
  if (key === MEMBER_TABLE) decodeTable(value);
  if (key.startsWith(PLACEMENTS)) decodePlacement(value);
}
