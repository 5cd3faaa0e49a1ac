/**
 * What etcdctl said, without what no two runs have in common: ids, addresses, revisions, times.
 *
 *  1. Revisions at which keys changed are numbered within a part in their order, so that they
 *     still say which is before which and which are the same. Those of headers are not: other
 *     parts are played meanwhile.
 *  2. A number that is 0 stays: there is none.
 */
import type { PlayedPart, StepEnd } from './player.ts';

/** Lines of a step. */
export type Said = readonly string[];

/** Of keys, in the formats `json` and `fields`. */
const KEY_REVISIONS =
  /("(?:create_revision|mod_revision|(?:Prev)?CreateRevision|(?:Prev)?ModRevision)" ?: ?)(\d+)/g;

const REPLACED: readonly (readonly [RegExp, string])[] = [
  [/[^ ]*\/holdfast-etcdctl-\w+\//g, '<work>/'],
  [/127\.0\.0\.\d+:\d{2,}/g, '<address>'],
  // Of what a client logs, when and in which of its connections it was is of no server.
  [/\{"level":"warn",.*"msg":"([^"]*)".*"error":"(.*)"\}$/g, 'warns: $1: $2'],
  [
    /("(?:cluster_id|member_id|ID|id|leader|lease|ClusterID|MemberID|Leader|(?:Prev)?Lease)" ?: ?)[1-9]\d*/g,
    '$1<id>',
  ],
  [/\b[0-9a-f]{13,16}\b/g, '<id>'],
  // Some are put into a column of 16.
  [/ +(?=<id>)/g, ' '],
  [/("(?:revision|Revision)" ?: ?)[1-9]\d*/g, '$1<revision>'],
  [/\bcompacted revision \d+/g, 'compacted revision <revision>'],
  [/("(?:compact_revision|CompactRevision)" ?: ?)-?[1-9]\d*/g, '$1<revision>'],
  [/("(?:raft_term|raftTerm|RaftTerm)" ?: ?)[1-9]\d*/g, '$1<term>'],
  [/("(?:raftIndex|raftAppliedIndex|RaftIndex|RaftAppliedIndex)" ?: ?)[1-9]\d*/g, '$1<index>'],
  [/("(?:hash|Hash)" ?: ?)[1-9]\d*/g, '$1<hash>'],
  // Status and checksum, where columns have no names.
  [/(, (?:true|false), (?:true|false)), \d+, \d+, \d+,/g, '$1, <term>, <index>, <index>,'],
  [/(\| (?:true|false) \| (?:true|false)) \| \d+ \| \d+ \| \d+ \|/g, '$1 | <term> | <index> | <index> |'],
  [/^<address>, [1-9]\d*$/g, '<address>, <hash>'],
  [/^(\| <address> \|) [1-9]\d* \|$/g, '$1 <hash> |'],
  [/\bremaining\(\d+s\)/g, 'remaining(<time>)'],
  // Which of its keys a lease names first is chance.
  [/("keys":)\[[^\]]*\]/g, '$1<keys>'],
  [/attached keys\(\[[^\]]+\]\)/g, 'attached keys(<keys>)'],
  [/(?<=, |\| )\d+(?:\.\d+)? [kM]?B(?=,| \|)/g, '<bytes>'],
  [/("(?:ttl|TTL)" ?: ?)59\d\b/g, '$1<time>'],
  [/\b\d+(?:\.\d+)?(?:µs|ms|s)\b(?=$| \|)/g, '<time>'],
];

/** What each step of a part said. */
export function normalised({ ends }: PlayedPart): Said[] {
  const revisions = new Set<number>();
  for (const { stdout } of ends)
    for (const [, , revision] of stdout.matchAll(KEY_REVISIONS)) revisions.add(Number(revision));
  revisions.delete(0); // invariant 2
  const order = new Map([...revisions].sort((a, b) => a - b).map((revision, at) => [revision, at + 1]));
  return ends.map((end) => saidOf(end, order));
}

function saidOf({ code, stdout, stderr }: StepEnd, order: ReadonlyMap<number, number>): Said {
  const line = (text: string) => normalisedLine(text, order);
  const out = stdout.split('\n').slice(0, -1).map(line);
  // A client may try more than once, and says so each time.
  const errors = [...new Set(stderr.split('\n').slice(0, -1).map(line))].map((one) => `! ${one}`);
  return [...out, ...errors, ...(code === '0' ? [] : [`ends with ${code}`])];
}

function normalisedLine(text: string, order: ReadonlyMap<number, number>): string {
  // Columns are as wide as what is in them.
  const isTable = /^[|+]/.test(text);
  let line = isTable ? text.replace(/ +/g, ' ').replace(/-+/g, '-') : text;
  line = line.replace(KEY_REVISIONS, (_, name: string, revision: string) => {
    const at = order.get(Number(revision)); // invariant 1
    return at === undefined ? `${name}${revision}` : `${name}<revision ${at}>`;
  });
  for (const [pattern, by] of REPLACED) line = line.replace(pattern, by);
  return line;
}
