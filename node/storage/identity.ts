/** Who a data directory belongs to: node, log, and from its founding on the cluster. */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import type { Random } from '@holdfast/client/random';
import type { Disk } from '../runtime/disk.ts';
import { replaceFile } from './replace-file.ts';

export const IDENTITY_FILE = 'identity.json';
const FORMAT = 1;

const identitySchema = z.object({
  format: z.literal(FORMAT),
  /** Absent until the directory belongs to a cluster. */
  cluster_id: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
  /**
   * The members of the cluster as this node has heard last; absent with a cluster: this node is
   * the only one. What is absent of one is as cluster.yaml says, and it belongs wholly.
   */
  members: z
    .array(
      z.object({
        id: z.number().int().positive(),
        name: z.string().min(1),
        node_id: z.string(),
        grpc: z.string().optional(),
        http: z.string().optional(),
        state: z.enum(['joining', 'active', 'leaving']).optional(),
        replaces: z.number().int().nonnegative().optional(),
      }),
    )
    .optional(),
  /** Changes of the members up to there; absent: they have not changed. */
  members_version: z.number().int().nonnegative().optional(),
  /** The number of the next member; absent: the one after the greatest. */
  next_member: z.number().int().positive().optional(),
  /** Numbers of the voters that group 0 began with; absent: all members. */
  founders: z.array(z.number().int().positive()).optional(),
  node_id: z.string().regex(/^[0-9a-f]{16}$/),
  node_name: z.string().min(1),
  /** Times the node was started with this directory. */
  incarnation: z.number().int().nonnegative(),
  log_id: z.string().regex(/^[0-9a-f]{16}$/),
  /** The log has held a durable record since; one without any has been lost. */
  log_begun: z.boolean(),
  /** Why this node is no member any more; then it never serves again. */
  removed: z.string().optional(),
  /** Why the other nodes do not take this one for the node it was; then it never serves again. */
  condemned: z.string().optional(),
  /** Id of the damaged directory in whose place this one came. */
  rebuilt_from: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
});

/** A node's identity. Ids are hexadecimal digits. */
export type Identity = z.infer<typeof identitySchema>;

/** The directory cannot be used as it is. The message says what to do. */
export class IdentityError extends Error {
  override readonly name = 'IdentityError';
}

/** The other nodes remember of this one more than its directory has. */
export class DirectoryCondemned extends IdentityError {
  readonly identity: Identity;

  constructor(identity: Identity) {
    super(identity.condemned);
    this.identity = identity;
  }
}

/** Reads the identity; undefined if the directory has none. */
export async function readIdentity(disk: Disk, path = IDENTITY_FILE): Promise<Identity | undefined> {
  if (!(await disk.list('')).includes(path)) return undefined;
  const [line, checksum] = Buffer.from(await disk.read(path))
    .toString('utf8')
    .split('\n');
  if (line === undefined || checksum !== checksumLine(line)) {
    throw new IdentityError(
      `${path} is damaged: its checksum does not match. Restore the directory from a backup.`,
    );
  }
  const parsed = identitySchema.safeParse(JSON.parse(line));
  if (parsed.success) return parsed.data;
  const problem = parsed.error.issues[0];
  throw new IdentityError(`${path} cannot be used: ${problem?.path.join('.')}: ${problem?.message}`);
}

/** Writes the identity durably. */
export async function writeIdentity(disk: Disk, identity: Identity, path = IDENTITY_FILE): Promise<void> {
  const line = JSON.stringify(identity);
  await replaceFile(disk, path, Buffer.from(`${line}\n${checksumLine(line)}\n`));
}

/**
 * Whose directory it is: `nodeName`'s, or new and so made its own. `contents`: folders that
 * only a directory with an identity has. Error: IdentityError.
 */
export async function claimDirectory(
  disk: Disk,
  random: Random,
  nodeName: string,
  contents: readonly string[],
): Promise<Identity> {
  const known = await readIdentity(disk);
  if (known !== undefined) {
    if (known.removed !== undefined) throw new IdentityError(known.removed);
    if (known.condemned !== undefined) throw new DirectoryCondemned(known);
    if (known.node_name === nodeName) return known;
    throw new IdentityError(
      `the data belongs to node "${known.node_name}", this is "${nodeName}": each node needs a directory of its own.`,
    );
  }
  const present = (await Promise.all(contents.map((name) => disk.list(name)))).flat();
  if (present.length > 0) {
    throw new IdentityError(
      'there is data, and identity.json is missing. Restore the file, or use an empty directory.',
    );
  }
  const identity = newIdentity(random, nodeName);
  await writeIdentity(disk, identity);
  return identity;
}

/** Identity of a node that belongs to no cluster yet. */
export function newIdentity(random: Random, nodeName: string): Identity {
  const hex = (bytes: number) => Buffer.from(random.bytes(bytes)).toString('hex');
  return {
    format: FORMAT,
    node_id: hex(8),
    node_name: nodeName,
    incarnation: 0,
    log_id: hex(8),
    log_begun: false,
  };
}

function checksumLine(line: string): string {
  return `crc32 ${crc32(line).toString(16).padStart(8, '0')}`;
}
