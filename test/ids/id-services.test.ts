/** What the service of IDs and sequences answers and refuses, on one node and on three. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  DescribeRequestSchema,
  IdService,
  ListSequencesRequestSchema,
  NextInSequenceRequestSchema,
  NextRequestSchema,
} from '@holdfast/proto/id/v1/id';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../client/clock.ts';
import { HoldfastError } from '../../client/error.ts';
import type { Engine } from '../../node/main/engine.ts';
import type { CallContext, Handlers } from '../../node/services/handler.ts';
import { idService } from '../../node/services/id-service.ts';
import { SmallCluster, type SmallNode } from '../raft/small-cluster.ts';
import { SimulatedNode } from '../simulation/simulated-node.ts';
import { openAccess } from '../../node/services/access.ts';

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

class IdCalls {
  readonly #handlers: Handlers<typeof IdService>;
  readonly #clock: Clock;
  timeoutMs = 20_000;

  constructor(engine: Engine, clock: Clock) {
    this.#handlers = idService(engine).handlers as Handlers<typeof IdService>;
    this.#clock = clock;
  }

  #context(): CallContext {
    return {
      deadlineMs: this.#clock.monotonicMs() + this.timeoutMs,
      isRouted: false,
      signal: new AbortController().signal,
      principal: 'test',
      access: openAccess(),
      grant: openAccess(),
      peer: () => '',
      requestId: '',
      traceparent: undefined,
      budget: {
        tryTake: () => true,
        give: () => undefined,
        refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
      },
    };
  }

  next = async (count = 1) => {
    const { blocks, worker } = await this.#handlers.next(
      this.#context(),
      create(NextRequestSchema, { count }),
    );
    const ids = blocks.flatMap(({ first, count: length }) =>
      Array.from({ length }, (_, at) => first + BigInt(at)),
    );
    return { ids, worker };
  };
  describe = (id: bigint) => this.#handlers.describe(this.#context(), create(DescribeRequestSchema, { id }));
  nextInSequence = (init: Init<typeof NextInSequenceRequestSchema>) =>
    this.#handlers.nextInSequence(this.#context(), create(NextInSequenceRequestSchema, init));
  list = (init: Init<typeof ListSequencesRequestSchema> = {}) =>
    this.#handlers.listSequences(this.#context(), create(ListSequencesRequestSchema, init));
}

const sequence = (number: number, open = number === 1) => ({
  clientId: Buffer.alloc(16, 7),
  sequence: BigInt(number),
  ackedBelow: 1n,
  open,
});

describe('on one node', () => {
  let node: SimulatedNode;
  let calls: IdCalls;
  beforeEach(async () => {
    node = new SimulatedNode('ids');
    await restart();
  });

  async function restart(): Promise<void> {
    calls = new IdCalls(await node.run(node.start()), node.clock);
  }

  /** The error that a call ends in; nothing was changed. */
  async function refusal(call: () => Promise<unknown>): Promise<HoldfastError> {
    const before = node.engine!.coordination.revision;
    const error = await node.run(
      Promise.resolve()
        .then(call)
        .then(
          () => undefined,
          (caught: unknown) => caught as HoldfastError,
        ),
    );
    expect(error?.message).toMatch(/Nothing (is|was)/);
    expect(node.engine!.coordination.revision).toBe(before);
    return error!;
  }

  test('none, or too many, are refused; as many as may be are given', async () => {
    for (const count of [0, 65_537, 4_294_967_295])
      expect(await refusal(() => calls.next(count))).toMatchObject({
        reason: 'COUNT_OUT_OF_RANGE',
        field: 'count',
        actual: String(count),
        limit: '1..65536',
        outcome: 'NOT_APPLIED',
      });
    const { ids, worker } = await node.run(calls.next(65_536));
    expect(new Set(ids).size).toBe(65_536);
    expect(worker).toBe(0);
  });

  test('a call is answered in memory', async () => {
    await node.run(calls.next());
    const { revision } = node.engine!.coordination;
    for (let at = 0; at < 100; at++) await node.run(calls.next(100));
    expect(node.engine!.coordination.revision).toBe(revision);
  });

  test('an ID says when and by whom it was made; what is none is refused', async () => {
    const beforeMs = node.clock.wallMs();
    const { ids, worker } = await node.run(calls.next(2));
    const described = await node.run(calls.describe(ids[1]!));
    expect(described).toMatchObject({ worker, sequence: Number(ids[1]! & 4_095n) });
    expect(Number(described.timeMs)).toBeGreaterThanOrEqual(beforeMs);
    expect(Number(described.timeMs)).toBeLessThanOrEqual(node.clock.wallMs());
    for (const id of [0n, 2n ** 63n])
      expect(await refusal(() => calls.describe(id))).toMatchObject({
        reason: 'ID_INVALID',
        field: 'id',
        actual: String(id),
      });
  });

  test('crashes and a clock set back repeat nothing', async () => {
    const given = new Set<bigint>();
    const last = new Map<number, bigint>();
    for (let round = 0; round < 4; round++) {
      for (let at = 0; at < 3; at++) {
        const { ids, worker } = await node.run(calls.next(20_000));
        for (const id of ids) {
          expect(id > (last.get(worker) ?? 0n)).toBe(true);
          last.set(worker, id);
          given.add(id);
        }
      }
      node.clock.jump(-10_000);
      const { ids } = await node.run(calls.next(20_000));
      for (const id of ids) given.add(id);
      last.set(Number((ids[0]! >> 12n) & 1_023n), ids.at(-1)!);
      node.crash('seeded');
      await restart();
    }
    expect(given.size).toBe(4 * 80_000);
    expect(node.engine!.ids.lease.generator?.worker).toBeUndefined();
  });

  test('a sequence begins at 1 and goes on through a crash', async () => {
    expect(await node.run(calls.nextInSequence({ name: 'invoice' }))).toMatchObject({ first: 1n, count: 1 });
    const taken = await node.run(calls.nextInSequence({ name: 'invoice', count: 1_000_000 }));
    expect(taken).toMatchObject({ first: 2n, count: 1_000_000 });
    node.crash('seeded');
    await restart();
    expect(await node.run(calls.nextInSequence({ name: 'invoice' }))).toMatchObject({ first: 1_000_002n });
    expect(await node.run(calls.nextInSequence({ name: 'other' }))).toMatchObject({ first: 1n });
  });

  test('what is sent again is answered as before', async () => {
    const ask = { name: 'invoice', count: 10, sequence: sequence(1) };
    const first = await node.run(calls.nextInSequence(ask));
    expect(await node.run(calls.nextInSequence(ask))).toEqual(first);
    expect(await node.run(calls.nextInSequence({ ...ask, sequence: sequence(2) }))).toMatchObject({
      first: 11n,
    });
    const clientId = Buffer.alloc(15);
    const wrong = { ...ask, sequence: { ...sequence(3), clientId } };
    expect(await refusal(() => calls.nextInSequence(wrong))).toMatchObject({ reason: 'INVALID_FIELD' });
  });

  test('names and counts of sequences are checked', async () => {
    for (const name of ['', 'A', 'ä', 'a b', 'x'.repeat(65), 'a/b'])
      expect(await refusal(() => calls.nextInSequence({ name }))).toMatchObject({
        reason: 'SEQUENCE_NAME_INVALID',
        field: 'name',
        actual: name,
      });
    expect(await refusal(() => calls.nextInSequence({ name: 'a', count: 1_000_001 }))).toMatchObject({
      reason: 'COUNT_OUT_OF_RANGE',
      limit: '1..1000000',
    });
    expect(await refusal(() => calls.list({ limit: 1_001 }))).toMatchObject({ reason: 'COUNT_OUT_OF_RANGE' });
    expect(await refusal(() => calls.list({ after: '/' }))).toMatchObject({
      reason: 'SEQUENCE_NAME_INVALID',
      field: 'after',
    });
  });

  test('are listed in parts, by name', async () => {
    expect(await node.run(calls.list())).toMatchObject({ sequences: [], more: false });
    for (const [at, name] of ['b', 'a', 'a-1', 'z'].entries())
      await node.run(calls.nextInSequence({ name, count: at + 1 }));
    expect(await node.run(calls.list({ limit: 2 }))).toMatchObject({
      sequences: [
        { name: 'a', last: 2n },
        { name: 'a-1', last: 3n },
      ],
      more: true,
    });
    expect(await node.run(calls.list({ after: 'a-1' }))).toMatchObject({
      sequences: [{ name: 'b' }, { name: 'z' }],
      more: false,
    });
  });
});

describe('on three nodes', () => {
  let cluster: SmallCluster;
  const settle = <T>(work: Promise<T>) => cluster.world.settle(work, 60_000);
  const on = (node: SmallNode) => new IdCalls(node.engine!, node.clock);
  beforeEach(async () => {
    cluster = await SmallCluster.start('ids', 3, 0, true);
    await cluster.until(() => cluster.leaderOf(0) !== undefined);
  });

  test('every node makes IDs of its own and takes numbers of one sequence', async () => {
    const workers = new Set<number>();
    const numbers: bigint[] = [];
    for (const node of cluster.nodes) {
      workers.add((await settle(on(node).next(10))).worker);
      numbers.push((await settle(on(node).nextInSequence({ name: 's', count: 3 }))).first);
      expect(await settle(on(node).list())).toMatchObject({ sequences: [{ name: 's' }] });
    }
    expect([...workers]).toEqual([0, 1, 2]);
    expect(numbers).toEqual([1n, 4n, 7n]);
  });

  test('a node without a majority goes on for a while, then says why; the others do not mind', async () => {
    const node = cluster.nodes.find(({ engine }) => !engine!.host.isLeader(0))!;
    const calls = on(node);
    await settle(calls.next());
    cluster.isolate(node);
    await cluster.world.runFor(1_800);
    const before = await settle(calls.next(100));
    await cluster.world.runFor(3_000);
    const error = await settle(calls.next().catch((caught: unknown) => caught as HoldfastError));
    expect(error).toMatchObject({ reason: 'ID_WORKER_UNAVAILABLE', outcome: 'NOT_APPLIED' });
    for (const other of cluster.nodes.filter((one) => one !== node))
      expect((await settle(on(other).next())).worker).not.toBe(before.worker);
    cluster.heal();
    await cluster.world.runFor(10_000);
    const after = await settle(calls.next(100));
    expect(after.ids[0]).toBeGreaterThan(before.ids.at(-1)!);
    expect(after.worker).toBe(before.worker);
  });
});
