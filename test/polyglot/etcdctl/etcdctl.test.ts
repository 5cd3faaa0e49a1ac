/**
 * One script of etcdctl commands, played against three members of a real etcd and against three
 * nodes of Holdfast: what differs is what node/docs/etcd.md says, line for line.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { RealCluster } from '../../process/real-cluster.ts';
import { HOST, freePorts } from '../../process/real-node.ts';
import { bash, describeWith, etcd, etcdctl, pathOf } from '../installed-tools.ts';
import { differences, type Difference } from './differences.ts';
import { play, type PlayedPart } from './player.ts';
import { RealEtcd } from './real-etcd.ts';
import { readScript } from './script.ts';
import { shown, toldDifferences } from './told-differences.ts';

const TIMEOUT = 300_000;
const MOST_DIFFERENCES = 15;
const LEAST_STEPS = 450;
const LEAST_OF_EACH = 10;

/** What etcdctl can be told to do, of what a server has a part in. */
const SUBCOMMANDS = [
  'put',
  'get',
  'del',
  'txn',
  'watch',
  'lease',
  'lock',
  'elect',
  'compaction',
  'member list',
  'endpoint status',
  'endpoint health',
  'endpoint hashkv',
  'alarm',
  'snapshot save',
  'check perf',
  'make-mirror',
  'user',
  'role',
  'auth',
];

const steps = readScript().flatMap((part) => part.steps);

describe('the script', () => {
  it.each(SUBCOMMANDS)('has ten variations of etcdctl %s', (subcommand) => {
    const isOne = new RegExp(`\\betcdctl(?: --\\S+)* ${subcommand}(?: |$)`);
    expect(new Set(steps.filter((step) => isOne.test(step))).size).toBeGreaterThanOrEqual(LEAST_OF_EACH);
  });
});

describeWith([bash, etcd, etcdctl], 'etcdctl against etcd and against Holdfast', () => {
  let there: PlayedPart[];
  let here: PlayedPart[];
  let found: Difference[];

  beforeAll(async () => {
    await using real = await RealEtcd.start(pathOf(etcd));
    await using cluster = await RealCluster.start();
    const nobody = `${HOST}:${(await freePorts(1))[0]}`;
    const stage = { etcdctl: pathOf(etcdctl), nobody };
    const parts = readScript();
    [there, here] = (await Promise.all(
      [real.endpoints, cluster.endpoints].map((endpoints) => play(parts, { ...stage, endpoints })),
    )) as [PlayedPart[], PlayedPart[]];
    found = differences(there, here);
  }, TIMEOUT);

  it('plays all of the script, and most of it succeeds', () => {
    expect(steps.length).toBeGreaterThanOrEqual(LEAST_STEPS);
    for (const played of [there, here]) {
      const ends = played.flatMap((part) => part.ends);
      expect(ends).toHaveLength(steps.length);
      expect(ends.filter(({ code }) => code === '')).toEqual([]);
      expect(ends.filter(({ code }) => code === '0').length).toBeGreaterThan(steps.length * 0.6);
    }
  });

  it('says what etcd says, but for what the documentation tells', () => {
    expect(found.map(shown).sort()).toEqual([...toldDifferences().differences].sort());
  });

  it('differs in little, and each difference is explained', () => {
    expect(found.length).toBeLessThanOrEqual(MOST_DIFFERENCES);
    expect(toldDifferences().unexplained).toEqual([]);
  });
});
