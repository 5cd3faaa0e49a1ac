/** Bounds that hold at any moment of a run, looked at from time to time. */
import { OVERLAY_LIMIT_BYTES } from '../../../node/storage/row-store.ts';
import { CheckFailure } from '../../raft/check-failure.ts';
import type { WorldNode } from './world-node.ts';
import type { WorldSettings } from './world-settings.ts';

/** An entry may be applied beyond the bound of the overlay before applying waits. */
const OVERLAY_SLACK_BYTES = 4 * 1024 * 1024;

export function checkBounds(
  { name, engine, edge }: WorldNode,
  settings: WorldSettings,
  clients: number,
): void {
  if (engine === undefined || edge === undefined) return;
  const hold = (what: string, bytes: number, limit: number) => {
    if (bytes < 0)
      throw new CheckFailure('bounds', `${name}: ${what} is ${bytes} bytes: more was given back than taken`);
    if (bytes > limit) throw new CheckFailure('bounds', `${name}: ${what} is ${bytes} bytes, limit ${limit}`);
  };
  hold('queue of the log', engine.host.queuedBytes, settings.queueBytes);
  hold('writes for other nodes', engine.forwardedBytes(), settings.queueBytes + 2 * settings.maxValueBytes);
  hold('overlay', engine.rows.overlay.bytes, OVERLAY_LIMIT_BYTES + OVERLAY_SLACK_BYTES);
  // Each connection may have one message that was refused and waits for its answer to have room.
  const refusedBytes = clients * (settings.windowBytes + 10 * settings.maxValueBytes + 65_536);
  hold('requests under way', edge.inFlightBytes, settings.inFlightBytes + refusedBytes);
}

/** What a node holds for calls, in words. */
export function heldBy({ engine, edge }: WorldNode): string[] {
  const held = {
    'queue of the log': engine?.host.queuedBytes,
    'writes for other nodes': engine?.forwardedBytes(),
    'requests under way': edge?.inFlightBytes,
  };
  return Object.entries(held).flatMap(([what, bytes = 0]) =>
    bytes === 0 ? [] : [`${what} is ${bytes} bytes`],
  );
}

/** With no call under way nothing may be held. */
export function checkIdle(node: WorldNode): void {
  const [held] = heldBy(node);
  if (held !== undefined) throw new CheckFailure('bounds', `${node.name}: ${held}, and nothing is under way`);
}
