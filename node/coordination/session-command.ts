/** Commands of leases, locks and elections as they stand in group 0's log, behind what all commands begin with. */
import type { ByteReader, ByteWriter } from '../storage/byte-codec.ts';
import { CoordinationKind } from './coordination-command.ts';
import type { Anchor } from './lease-countdown.ts';
import { MAX_LEASE } from './lease-table.ts';
import { HoldMode } from './wait-queue.ts';

/** Those of `CoordinationKind`, as the parts call them. */
export const SessionCommandKind = {
  grant: CoordinationKind.leaseGrant,
  revoke: CoordinationKind.leaseRevoke,
  expire: CoordinationKind.leaseExpire,
  beginTerm: CoordinationKind.leaseTerm,
  checkpoint: CoordinationKind.leaseCheckpoint,
  acquire: CoordinationKind.lockAcquire,
  release: CoordinationKind.lockRelease,
  campaign: CoordinationKind.electionCampaign,
  proclaim: CoordinationKind.electionProclaim,
  resign: CoordinationKind.electionResign,
} as const;

export const MIN_LEASE_TTL_MS = 1_000;
export const MAX_LEASE_TTL_MS = 86_400_000;
export const DEFAULT_LEASE_TTL_MS = 10_000;
export const MAX_LEASE_NAME_BYTES = 256;
/** Of a lock, or of an election. */
export const MAX_NAME_BYTES = 256;
export const MAX_REQUEST_ID_BYTES = 64;
export const MAX_PERMITS = 10_000;
/** Of what a candidate says. */
export const MAX_SAID_VALUE_BYTES = 65_536;

interface Named {
  /** Bytes as characters, as in row keys. */
  readonly name: string;
  readonly session: bigint;
}

/** `lease` 0: the cluster chooses the number. */
export interface GrantCommand {
  readonly kind: typeof SessionCommandKind.grant;
  readonly lease: bigint;
  readonly ttlMs: number;
  readonly name: string;
}

export interface RevokeCommand {
  readonly kind: typeof SessionCommandKind.revoke;
  readonly lease: bigint;
}

export interface ExpireCommand {
  readonly kind: typeof SessionCommandKind.expire;
  readonly term: number;
  readonly leases: readonly bigint[];
}

export interface BeginTermCommand {
  readonly kind: typeof SessionCommandKind.beginTerm;
  readonly term: number;
}

export interface CheckpointCommand {
  readonly kind: typeof SessionCommandKind.checkpoint;
  readonly term: number;
  /** Lease time. */
  readonly timeMs: number;
  readonly anchored: readonly Anchor[];
  readonly afloat: readonly bigint[];
}

export interface AcquireCommand extends Named {
  readonly kind: typeof SessionCommandKind.acquire;
  /** Bytes as characters. */
  readonly request: string;
  readonly attempt: number;
  readonly mode: HoldMode;
  readonly permits: number;
  readonly mayWait: boolean;
}

/** `token` 0: gives up waiting, or what was got; of one attempt alone, where there is one. */
export interface ReleaseCommand extends Named {
  readonly kind: typeof SessionCommandKind.release;
  readonly request: string;
  readonly token: number;
  readonly attempt: number | undefined;
}

export interface CampaignCommand extends Named {
  readonly kind: typeof SessionCommandKind.campaign;
  readonly attempt: number;
  readonly value: Uint8Array;
}

export interface ProclaimCommand extends Named {
  readonly kind: typeof SessionCommandKind.proclaim;
  readonly token: number;
  readonly value: Uint8Array;
}

/** As ReleaseCommand. */
export interface ResignCommand extends Named {
  readonly kind: typeof SessionCommandKind.resign;
  readonly token: number;
  readonly attempt: number | undefined;
}

export type SessionCommand =
  | GrantCommand
  | RevokeCommand
  | ExpireCommand
  | BeginTermCommand
  | CheckpointCommand
  | AcquireCommand
  | ReleaseCommand
  | CampaignCommand
  | ProclaimCommand
  | ResignCommand;

export function writeSessionCommand(writer: ByteWriter, command: SessionCommand): void {
  switch (command.kind) {
    case SessionCommandKind.grant:
      writer.i64(command.lease).u64(command.ttlMs).bytes(Buffer.from(command.name));
      return;
    case SessionCommandKind.revoke:
      writer.i64(command.lease);
      return;
    case SessionCommandKind.expire:
      writeLeases(writer.u64(command.term), command.leases);
      return;
    case SessionCommandKind.beginTerm:
      writer.u64(command.term);
      return;
    case SessionCommandKind.checkpoint:
      writer.u64(command.term).u64(command.timeMs).u32(command.anchored.length);
      for (const { lease, endsMs } of command.anchored) writer.i64(lease).u64(endsMs);
      writeLeases(writer, command.afloat);
      return;
    case SessionCommandKind.acquire:
      writeNamed(writer, command).latin1(command.request).u64(command.attempt);
      writer
        .u8(command.mode)
        .u32(command.permits)
        .u8(command.mayWait ? 1 : 0);
      return;
    case SessionCommandKind.release:
      writeNamed(writer, command).latin1(command.request).u64(command.token);
      writeAttempt(writer, command.attempt);
      return;
    case SessionCommandKind.campaign:
      writeNamed(writer, command).u64(command.attempt).bytes(command.value);
      return;
    case SessionCommandKind.proclaim:
      writeNamed(writer, command).u64(command.token).bytes(command.value);
      return;
    case SessionCommandKind.resign:
      writeNamed(writer, command).u64(command.token);
      writeAttempt(writer, command.attempt);
  }
}

/** Error: RangeError, what cannot be applied. */
export function readSessionCommand(kind: number, reader: ByteReader): SessionCommand {
  switch (kind) {
    case SessionCommandKind.grant: {
      const lease = reader.i64();
      const ttlMs = within('a time to live', reader.u64(), MIN_LEASE_TTL_MS, MAX_LEASE_TTL_MS);
      const name = reader.bytes();
      within('bytes of a name', name.length, 0, MAX_LEASE_NAME_BYTES);
      return { kind, lease: lease === 0n ? lease : checkedLease(lease), ttlMs, name: name.toString() };
    }
    case SessionCommandKind.revoke:
      return { kind, lease: checkedLease(reader.i64()) };
    case SessionCommandKind.expire:
      return { kind, term: reader.u64(), leases: readLeases(reader) };
    case SessionCommandKind.beginTerm:
      return { kind, term: reader.u64() };
    case SessionCommandKind.checkpoint: {
      const term = reader.u64();
      const timeMs = reader.u64();
      const anchored: Anchor[] = [];
      for (let left = reader.u32(); left > 0; left--)
        anchored.push({ lease: checkedLease(reader.i64()), endsMs: reader.u64() });
      return { kind, term, timeMs, anchored, afloat: readLeases(reader) };
    }
    case SessionCommandKind.acquire:
      return readAcquire(reader);
    case SessionCommandKind.release:
      return {
        kind,
        ...readNamed(reader),
        request: readRequest(reader),
        token: reader.u64(),
        attempt: readAttempt(reader),
      };
    case SessionCommandKind.campaign:
      return { kind, ...readNamed(reader), attempt: reader.u64(), value: readValue(reader) };
    case SessionCommandKind.proclaim:
      return { kind, ...readNamed(reader), token: reader.u64(), value: readValue(reader) };
    case SessionCommandKind.resign:
      return { kind, ...readNamed(reader), token: reader.u64(), attempt: readAttempt(reader) };
  }
  throw new RangeError(`a session command of kind ${kind}`);
}

function readAcquire(reader: ByteReader): AcquireCommand {
  const named = readNamed(reader);
  const request = readRequest(reader);
  const attempt = reader.u64();
  const mode = within('a mode', reader.u8(), HoldMode.exclusive, HoldMode.semaphore) as HoldMode;
  const isSemaphore = mode === HoldMode.semaphore;
  const permits = within('permits', reader.u32(), isSemaphore ? 1 : 0, isSemaphore ? MAX_PERMITS : 0);
  const mayWait = reader.u8() === 1;
  return { kind: SessionCommandKind.acquire, ...named, request, attempt, mode, permits, mayWait };
}

function writeNamed(writer: ByteWriter, { name, session }: Named): ByteWriter {
  return writer.latin1(name).i64(session);
}

function readNamed(reader: ByteReader): Named {
  const name = reader.latin1();
  within('bytes of a name', name.length, 1, MAX_NAME_BYTES);
  return { name, session: checkedLease(reader.i64()) };
}

function readRequest(reader: ByteReader): string {
  const request = reader.latin1();
  within('bytes of a request id', request.length, 1, MAX_REQUEST_ID_BYTES);
  return request;
}

function readValue(reader: ByteReader): Uint8Array {
  const value = reader.bytes();
  within('bytes of a value', value.length, 0, MAX_SAID_VALUE_BYTES);
  return Uint8Array.from(value);
}

function writeAttempt(writer: ByteWriter, attempt: number | undefined): void {
  writer.u8(attempt === undefined ? 0 : 1).u64(attempt ?? 0);
}

function readAttempt(reader: ByteReader): number | undefined {
  const isGiven = reader.u8() === 1;
  const attempt = reader.u64();
  return isGiven ? attempt : undefined;
}

function writeLeases(writer: ByteWriter, leases: readonly bigint[]): void {
  writer.u32(leases.length);
  for (const lease of leases) writer.i64(lease);
}

function readLeases(reader: ByteReader): bigint[] {
  const leases: bigint[] = [];
  for (let left = reader.u32(); left > 0; left--) leases.push(checkedLease(reader.i64()));
  return leases;
}

function checkedLease(lease: bigint): bigint {
  if (lease >= 1n && lease <= MAX_LEASE) return lease;
  throw new RangeError(`a lease of number ${lease}`);
}

function within(what: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  throw new RangeError(`${what}: ${value}, allowed are ${least} to ${most}`);
}
