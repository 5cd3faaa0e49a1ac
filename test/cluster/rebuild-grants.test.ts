/** What a member answers a node whose data is damaged, by what the members say of their groups. */
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import type { HoldfastError } from '@holdfast/client/error';
import type { Transport } from '@holdfast/client/transport';
import { GetStatusResponseSchema, GroupRole, NodeState } from '@holdfast/proto/cluster/v1/cluster';
import type { ClusterMembers } from '../../node/cluster/cluster-members.ts';
import type { GroupPlacements } from '../../node/cluster/group-placements.ts';
import type { MemberChanges } from '../../node/cluster/member-changes.ts';
import type { ClusterMember, MembershipState, MemberTable } from '../../node/cluster/membership.ts';
import { RebuildGrants } from '../../node/cluster/rebuild-grants.ts';

const CLUSTER = 'c'.repeat(32);

function member(id: number, name: string, state: MembershipState = 'active', replaces = 0): ClusterMember {
  const [grpc, http] = [`${name}:7401`, `${name}:7501`];
  return { id, name, nodeId: `${id}`.repeat(16), grpc, http, state, replaces };
}

/** Grants of a cluster in which n1 leads group 0, n3 answers it, and all but n1 say of themselves what `says` does. */
function grantsOf(...members: ClusterMember[]) {
  return grantsWhere(({ nodeId }) => ({ nodeId, state: NodeState.DAMAGED }), ...members);
}

function grantsWhere(
  says: (member: ClusterMember) => { nodeId: string; state: NodeState } | undefined,
  ...members: ClusterMember[]
) {
  const table: MemberTable = { version: 9, nextId: 7, members };
  const status = create(GetStatusResponseSchema, {
    nodes: [
      {
        name: 'n1',
        nodeId: '1'.repeat(16),
        groups: [
          {
            role: GroupRole.LEADER,
            voters: ['n1', 'n2', 'n3'],
            followers: [{ name: 'n3', active: true }],
          },
        ],
      },
    ],
  });
  const answer = (address: string) => {
    if (address === 'n1:7401') return Promise.resolve(status);
    const asked = members.findLast(({ grpc }) => grpc === address)!;
    const said = says(asked);
    if (said === undefined) return Promise.reject(new Error('away'));
    return Promise.resolve(create(GetStatusResponseSchema, { nodes: [{ name: asked.name, ...said }] }));
  };
  const grants = new RebuildGrants({
    changes: { change: (of: (before: MemberTable) => unknown) => of(table) } as unknown as MemberChanges,
    members: { current: { ...table, clusterId: CLUSTER, founders: [1, 2, 3] } } as unknown as ClusterMembers,
    placements: {} as GroupPlacements,
    groups: () => [],
    transport: { unary: (address: string) => answer(address) } as unknown as Transport,
    addressOf: ({ grpc }) => grpc,
  });
  return async (id: number, next: number) => {
    const [nodeId, newNodeId] = [`${id}`.repeat(16), `${next}`.repeat(16)];
    const { members: after } = await grants.grant({ clusterId: CLUSTER, nodeId, newNodeId });
    return after.map(({ name, nodeId: own, state }) => `${name} ${own[0]} ${state}`).join(', ');
  };
}

async function refusal(grant: Promise<unknown>): Promise<string> {
  const error = await grant.then(
    () => undefined,
    (thrown: unknown) => thrown as HoldfastError,
  );
  return `${error?.reason}: ${error?.message}`;
}

test('a damaged member comes back in its own place, and is answered the same once more', async () => {
  const [one, three] = [member(1, 'n1'), member(3, 'n3')];
  const grant = grantsOf(one, member(2, 'n2'), three);
  expect(await grant(2, 4)).toBe('n1 1 active, n2 2 leaving, n3 3 active, n2 4 joining');
  const granted = grantsOf(one, member(2, 'n2', 'leaving'), three, member(4, 'n2', 'joining', 2));
  expect(await granted(2, 4)).toBe('n1 1 active, n2 2 leaving, n3 3 active, n2 4 joining');
});

test('an earlier copy of a directory does not become the one that votes in its place', async () => {
  const others = [member(1, 'n1'), member(3, 'n3')] as const;
  for (const state of ['active', 'leaving'] as const) {
    const grant = grantsOf(...others, member(4, 'n2', state, 2));
    expect(await refusal(grant(2, 4))).toMatch(
      /^MEMBER_CHANGE_REFUSED: n2 has come back with the directory 4444/,
    );
  }
});

test('one that is damaged again before it votes begins anew once more', async () => {
  const joining = [member(2, 'n2', 'leaving'), member(3, 'n3'), member(4, 'n2', 'joining', 2)] as const;
  expect(await grantsOf(member(1, 'n1'), ...joining)(4, 5)).toBe(
    'n1 1 active, n2 2 leaving, n3 3 active, n2 4 leaving, n2 5 joining',
  );
  expect(await refusal(grantsOf(member(1, 'n1'), ...joining)(3, 6))).toMatch(/^MEMBER_CHANGE_RUNNING/);
});

test('nobody has a member given up that is sound, away, or another at its address', async () => {
  const members = [member(1, 'n1'), member(2, 'n2'), member(3, 'n3')] as const;
  const says = [
    ...[NodeState.RUNNING, NodeState.DISK_LOW, NodeState.STARTING, NodeState.STOPPING].map((state) => {
      return { said: { nodeId: '2'.repeat(16), state }, why: 'n2 does not say that its data is damaged' };
    }),
    { said: { nodeId: '8'.repeat(16), state: NodeState.DAMAGED }, why: 'is not that directory' },
    { said: undefined, why: 'is not that directory' },
  ];
  for (const { said, why } of says) {
    const error = await refusal(grantsWhere(() => said, ...members)(2, 4));
    expect(error).toMatch(/^MEMBER_CHANGE_REFUSED/);
    expect(error).toContain(why);
  }
});
