/** The bounds of a gRPC connection, without one. */
import { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ArrivingConnections } from '../../node/transport/arriving-connections.ts';
import { ConnectionBudget } from '../../node/transport/connection-budget.ts';
import { PingLimit } from '../../node/transport/ping-limit.ts';
import { ReceivedBytes } from '../../node/transport/received-bytes.ts';
import { frame } from '../process/grpc-caller.ts';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { HttpRig, ManualClock } from './http-rig.ts';

describe('pings', () => {
  const allowed = (limit: PingLimit, count: number, sentBytes = () => 0) =>
    Array.from({ length: count }, () => limit.allows(sentBytes())).filter(Boolean).length;

  it('are allowed in a burst, and again with time', () => {
    const clock = new ManualClock();
    const limit = new PingLimit(clock);
    expect(allowed(limit, 200)).toBe(100);
    clock.pass(60_000);
    expect(allowed(limit, 200)).toBe(100);
  });

  it('are free while answers are sent', () => {
    const limit = new PingLimit(new ManualClock());
    let sent = 0;
    expect(allowed(limit, 10_000, () => (sent += 1_000))).toBe(10_000);
    // What answers the pings alone is no work.
    const idle = new PingLimit(new ManualClock());
    expect(allowed(idle, 1_000, () => (sent += 17))).toBe(100);
  });
});

describe('bytes that have arrived', () => {
  const budgets = (limit: number) => new ConnectionBudget(new HttpRig().edge.budget, limit);

  it('of a stream are those of messages that are not handed over, however they are cut', () => {
    const random = new SeededRandom(1);
    const sizes = [0, 1, 300, 5, 0, 70_000, 2];
    const wire = Buffer.concat(sizes.map((size) => frame(Buffer.alloc(size))));
    const ends = sizes.map((_, index) => sizes.slice(0, index + 1).reduce((sum, size) => sum + size + 5, 0));
    for (let round = 0; round < 200; round++) {
      const budget = budgets(1_000_000);
      const received = new ReceivedBytes(budget, true);
      let handed = 0;
      for (let at = 0; at < wire.length;) {
        const next = Math.min(wire.length, at + 1 + Math.floor(random.float() ** 4 * 20_000));
        expect(received.add(wire.subarray(at, next))).toBe(true);
        at = next;
        expect(budget.bytes).toBe(at - (ends[handed - 1] ?? 0));
        // The handler may be behind.
        for (; ends[handed]! <= at && random.float() < 0.7; handed++) received.handOver();
        expect(budget.bytes).toBe(at - (ends[handed - 1] ?? 0));
      }
      for (; handed < ends.length; handed++) received.handOver();
      expect(budget.bytes).toBe(0);
    }
  });

  it('of a stream that is gone are given back once', () => {
    const budget = budgets(1_000_000);
    const received = new ReceivedBytes(budget, true);
    received.add(Buffer.concat([frame(Buffer.alloc(100)), frame(Buffer.alloc(100)), Buffer.alloc(50)]));
    expect(budget.bytes).toBe(260);
    received.handOver();
    received.release();
    received.handOver();
    expect(budget.bytes).toBe(0);
  });

  it('of a call with one request are all, until a handler has them', () => {
    const budget = budgets(1_000);
    const received = new ReceivedBytes(budget, false);
    received.add(frame(Buffer.alloc(100)));
    received.add(Buffer.alloc(50));
    expect(budget.bytes).toBe(155);
    received.release();
    received.release();
    expect(budget.bytes).toBe(0);
  });

  it('of a call that was refused no longer count', () => {
    const budget = budgets(1_000);
    const other = new ReceivedBytes(budget, false);
    const received = new ReceivedBytes(budget, false);
    other.add(Buffer.alloc(600));
    expect(received.add(Buffer.alloc(300))).toBe(true);
    expect(received.add(Buffer.alloc(300))).toBe(false);
    expect(budget.bytes).toBe(600);
    expect(received.add(Buffer.alloc(300))).toBe(true);
    expect(budget.bytes).toBe(600);
    expect(budget.refusal().message).not.toBe('');
  });

  it('one request goes through however large, and the node has the last word', () => {
    const rig = new HttpRig();
    const budget = new ConnectionBudget(rig.edge.budget, 1_000);
    expect(budget.tryTake(5_000)).toBe(true);
    expect(budget.tryTake(1)).toBe(false);
    expect(budget.refusal()).toMatchObject({ reason: 'OVERLOADED', limit: '1000' });
    budget.give(5_000);
    expect(rig.edge.inFlightBytes).toBe(0);
    rig.edge.budget.tryTake(64 * 1_048_576);
    expect(budget.tryTake(1)).toBe(false);
    expect(budget.refusal()).toMatchObject({ reason: 'OVERLOADED', limit: String(64 * 1_048_576) });
  });
});

describe('connections that arrive', () => {
  it('and are reset already are not waited for', () => {
    const clock = new ManualClock();
    let late = 0;
    const arriving = new ArrivingConnections(clock, 10_000, () => late++);
    const gone = [new Socket(), new Socket()];
    for (const one of gone) arriving.add(one);
    expect(gone.every(({ destroyed }) => destroyed)).toBe(true);
    clock.pass(20_000);
    expect([late, arriving.size, clock.pending]).toEqual([0, 0, 0]);
  });
});
