/**
 * Who a data directory belongs to: cluster, node, log.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { Random } from '@holdfast/client/random';
import type { Disk } from '../runtime/disk.ts';
import { replaceFile } from './replace-file.ts';

const FILE = 'identity.json';
const FORMAT = 1;

const identitySchema = z.object({
  format: z.literal(FORMAT),
  cluster_id: z.string().regex(/^[0-9a-f]{32}$/),
  node_id: z.string().regex(/^[0-9a-f]{16}$/),
  node_name: z.string().min(1),
  /** Times the node was started with this directory. */
  incarnation: z.number().int().positive(),
  log_id: z.string().regex(/^[0-9a-f]{16}$/),
  /** The log has held a durable record since; one without any has been lost. */
  log_begun: z.boolean(),
  /** Why the other nodes do not take this one for the node it was; then it never serves again. */
  condemned: z.string().optional(),
});

/** A node's identity. Ids are hexadecimal digits. */
export type Identity = z.infer<typeof identitySchema>;

/** The directory cannot be used as it is. The message says what to do. */
export class IdentityError extends Error {
  override readonly name = 'IdentityError';
}

/** Reads the identity; undefined if the directory has none. */
export async function readIdentity(disk: Disk): Promise<Identity | undefined> {
  if (!(await disk.list('')).includes(FILE)) return undefined;
  const [line, checksum] = Buffer.from(await disk.read(FILE))
    .toString('utf8')
    .split('\n');
  if (line === undefined || checksum !== checksumLine(line)) {
    throw new IdentityError(
      `${FILE} is damaged: its checksum does not match. Restore the directory from a backup.`,
    );
  }
  const parsed = identitySchema.safeParse(JSON.parse(line));
  if (parsed.success) return parsed.data;
  const problem = parsed.error.issues[0];
  throw new IdentityError(`${FILE} cannot be used: ${problem?.path.join('.')}: ${problem?.message}`);
}

/** Writes the identity durably. */
export async function writeIdentity(disk: Disk, identity: Identity): Promise<void> {
  const line = JSON.stringify(identity);
  await replaceFile(disk, FILE, Buffer.from(`${line}\n${checksumLine(line)}\n`));
}

/** Identity of the first node of a new cluster. */
export function newIdentity(random: Random, nodeName: string): Identity {
  const hex = (bytes: number) => Buffer.from(random.bytes(bytes)).toString('hex');
  return {
    format: FORMAT,
    cluster_id: hex(16),
    node_id: hex(8),
    node_name: nodeName,
    incarnation: 1,
    log_id: hex(8),
    log_begun: false,
  };
}

function checksumLine(line: string): string {
  return `crc32 ${crc32(line).toString(16).padStart(8, '0')}`;
}
