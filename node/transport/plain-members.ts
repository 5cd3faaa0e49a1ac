/** The members as an HTTP resource: `/v1/members`. */
import { create } from '@bufbuild/protobuf';
import { statusOf, type MemberStatus } from '@holdfast/client/member-status';
import {
  ClusterService,
  ListMembersRequestSchema,
  WatchMembersRequestSchema,
} from '@holdfast/proto/cluster/v1/cluster';
import { memberListJson } from './member-json.ts';
import type { PlainExchange } from './plain-exchange.ts';

const { listMembers, watchMembers } = ClusterService.method;

/** GET; with `?watch=true` JSON lines that go on: all members each time. */
export async function showMembers(exchange: PlainExchange): Promise<void> {
  const query = exchange.query('watch');
  if (query.flag('watch')) return followMembers(exchange);
  const request = create(ListMembersRequestSchema, { local: true });
  const { members, movingGroups } = await exchange.unary(listMembers, request);
  exchange.json(200, memberListJson({ members: members.map(statusOf), movingGroups }));
}

async function followMembers(exchange: PlainExchange): Promise<void> {
  const known = new Map<number, MemberStatus>();
  const request = create(WatchMembersRequestSchema);
  for await (const { members, gone, movingGroups } of exchange.stream(watchMembers, request)) {
    if (!exchange.response.headersSent)
      exchange.response.writeHead(200, {
        'Content-Type': 'application/jsonl',
        'X-Content-Type-Options': 'nosniff',
      });
    for (const status of members.map(statusOf)) known.set(status.id, status);
    for (const id of gone) known.delete(id);
    const list = [...known.values()].sort((a, b) => a.id - b.id);
    await exchange.write(Buffer.from(`${JSON.stringify(memberListJson({ members: list, movingGroups }))}\n`));
  }
  exchange.response.end();
}
