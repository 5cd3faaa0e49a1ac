/**
 * Commands of the coordination as they stand in group 0's log. Those of the cluster's own keys
 * are in tree-command.ts; of all others the bytes begin with the identity of the client that
 * sent them, if it gave one, and what follows is their part's.
 */
import { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import type { Command } from '../raft/entry.ts';

/** Kinds of commands; numbers are never reused. 1 and 2 are those of tree-command.ts. */
export const CoordinationKind = {
  configTransact: 10,
  configCompact: 11,
  configPurge: 12,
  leaseGrant: 20,
  leaseRevoke: 21,
  leaseExpire: 22,
  leaseTerm: 23,
  leaseCheckpoint: 24,
  lockAcquire: 30,
  lockRelease: 31,
  electionCampaign: 32,
  electionProclaim: 33,
  electionResign: 34,
  sequenceNext: 40,
  forgetClients: 50,
  authEnable: 60,
  authDisable: 61,
  authAddUser: 62,
  authDeleteUser: 63,
  authChangePassword: 64,
  authGrantRole: 65,
  authRevokeRole: 66,
  authAddRole: 67,
  authDeleteRole: 68,
  authGrantPermission: 69,
  authRevokePermission: 70,
  groupJoin: 90,
  groupRelease: 91,
  groupLeave: 92,
  groupRefresh: 93,
  groupExpel: 94,
  groupDelete: 95,
  groupTouch: 96,
  /** Another command, with the revision of the permissions by which its caller was let in. */
  checked: 80,
} as const;

/** Identity of a write that is applied once. */
export interface WriteIdentity {
  /** 16 bytes. */
  readonly clientId: Uint8Array;
  readonly sequence: number;
  readonly ackedBelow: number;
  readonly open: boolean;
}

/** Version of all commands so far; what a version of a kind means never changes. */
export const COMMAND_VERSION = 1;

/** A command with its identity; `write` writes what its part reads. */
export function encodeCommand(
  kind: number,
  identity: WriteIdentity | undefined,
  write: (writer: ByteWriter) => void,
  capacity = 128,
): Command {
  const writer = new ByteWriter(40 + capacity);
  writeIdentity(writer, identity);
  write(writer);
  return { kind, version: COMMAND_VERSION, bytes: writer.finish() };
}

/** A command of a caller that was let in by the permissions of a revision. */
export function encodeChecked({ kind, bytes }: Command, authRevision: number): Command {
  const writer = new ByteWriter(12 + bytes.byteLength).u64(authRevision).u32(kind).raw(bytes);
  return { kind: CoordinationKind.checked, version: COMMAND_VERSION, bytes: writer.finish() };
}

/** A command as read: whose it is, and what its part makes of it. */
export interface DecodedCommand {
  readonly kind: number;
  /** By which permissions its caller was let in; undefined: nobody was asked. */
  readonly checkedAt: number | undefined;
  readonly identity: WriteIdentity | undefined;
  readonly body: unknown;
}

function writeIdentity(writer: ByteWriter, identity: WriteIdentity | undefined): void {
  writer.u8(identity === undefined ? 0 : identity.open ? 3 : 1);
  if (identity !== undefined) writer.raw(identity.clientId).u64(identity.sequence).u64(identity.ackedBelow);
}

/** Error: RangeError. */
export function readIdentity(reader: ByteReader): WriteIdentity | undefined {
  const flags = reader.u8();
  if (flags === 0) return undefined;
  if (flags !== 1 && flags !== 3) throw new RangeError(`an identity with flags ${flags}`);
  const [clientId, sequence, ackedBelow] = [reader.raw(16), reader.u64(), reader.u64()];
  return { clientId, sequence, ackedBelow, open: flags === 3 };
}
