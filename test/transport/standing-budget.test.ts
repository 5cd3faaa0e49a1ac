/** Bytes that watches hold: half of the node's budget at most, so that other calls always have the rest. */
import { expect, test } from 'vitest';
import { ConnectionBudget } from '../../node/transport/connection-budget.ts';
import { HttpRig } from './http-rig.ts';

const MiB = 1024 * 1024;
/** That of the rig. */
const BUDGET = 64 * MiB;
const REST = {
  timeoutMs: 1_000,
  requestId: 'x',
  traceparent: undefined,
  token: undefined,
  authorization: undefined,
};

function rig() {
  const { edge } = new HttpRig();
  const admit = (method: string, requestBytes = 0, budget = edge.budget) =>
    edge.admit({
      transport: 'grpc',
      method,
      requestBytes,
      budget,
      isStream: true,
      routes: undefined,
      peer: () => '',
      ...REST,
    });
  return { edge, admit };
}

test.each(['holdfast.config.v1.ConfigService/Watch', 'etcdserverpb.Watch/Watch'])(
  '%s leaves half of the budget to others, however many callers watch',
  (method) => {
    const { edge, admit } = rig();
    const watches = Array.from({ length: 4 }, () => admit(method).context.budget);
    let taken = 0;
    while (watches[taken % 4]!.tryTake(MiB)) taken++;
    expect([taken, edge.inFlightBytes]).toEqual([32, BUDGET / 2]);
    const refusal = watches[0]!.refusal();
    expect(refusal).toMatchObject({ reason: 'OVERLOADED', actual: `${BUDGET / 2}`, limit: `${BUDGET / 2}` });
    expect(refusal.message).toContain('watch');
    // Who puts is let in, up to the whole.
    const put = admit('holdfast.config.v1.ConfigService/Put', 31 * MiB);
    expect(() => admit('holdfast.config.v1.ConfigService/Put', 2 * MiB)).toThrow(/requests of/);
    put.end('OK', 0);
    for (let at = 0; at < taken; at++) watches[at % 4]!.give(MiB);
    expect(edge.inFlightBytes).toBe(0);
    expect(watches[0]!.tryTake(MiB)).toBe(true);
  },
);

test('what one connection may hold is said as before', () => {
  const { edge, admit } = rig();
  const { budget } = admit('etcdserverpb.Watch/Watch', 0, new ConnectionBudget(edge.budget, MiB)).context;
  expect([budget.tryTake(MiB), budget.tryTake(1)]).toEqual([true, false]);
  expect(budget.refusal().message).toContain('connection_in_flight_bytes');
  budget.give(MiB);
  expect(edge.inFlightBytes).toBe(0);
});
