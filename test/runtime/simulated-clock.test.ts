import { describe, expect, it } from 'vitest';
import { sleep } from '@holdfast/client/clock';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

describe('SimulatedScheduler', () => {
  it('runs events by time, then by order of insertion', async () => {
    const world = new SimulatedScheduler();
    const random = new SeededRandom(3);
    const expected: [number, number][] = [];
    const ran: [number, number][] = [];
    for (let i = 0; i < 2000; i++) {
      const atMs = Math.floor(random.float() * 50);
      expected.push([atMs, i]);
      const timer = world.after(atMs, () => ran.push([atMs, i]));
      if (random.chance(0.2)) {
        timer.cancel();
        expected.pop();
      }
    }
    while (world.step());
    expect(ran).toEqual(expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]));
    expect(world.executed).toBe(expected.length);
  });

  it('lets every promise continuation run before the next event, however long the chain', async () => {
    const world = new SimulatedScheduler();
    const trace: string[] = [];
    world.after(1, async () => {
      for (let i = 0; i < 500; i++) await Promise.resolve();
      trace.push('chain');
      world.after(0, () => trace.push('follow-up'));
    });
    world.after(1, () => trace.push('second'));
    await world.runFor(1);
    expect(trace).toEqual(['chain', 'second', 'follow-up']);
  });

  it('stops at the time, the condition or the settled promise, and says when it is stuck', async () => {
    const world = new SimulatedScheduler();
    const clock = new SimulatedClock(world);
    await world.runUntil(100);
    expect(world.nowMs()).toBe(100);
    expect(await world.runUntilTrue(() => world.nowMs() > 500, 100)).toBe(false);
    expect(world.nowMs()).toBe(200);
    await world.settle(sleep(clock, 50));
    expect(world.nowMs()).toBe(250);
    await expect(world.settle(new Promise(() => undefined))).rejects.toThrow('still pending');
    await expect(world.settle(Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  it('passes on what an event throws', async () => {
    const world = new SimulatedScheduler();
    world.after(1, () => {
      throw new Error('broken');
    });
    await expect(world.runFor(2)).rejects.toThrow('broken');
    await world.runFor(2);
  });
});

describe('SimulatedClock', () => {
  it('jumps in wall time only', async () => {
    const world = new SimulatedScheduler();
    const clock = new SimulatedClock(world, { wallStartMs: 1_800_000_000_000, offsetMs: -300 });
    await world.runFor(1000);
    clock.jump(-60_000);
    expect(clock.wallMs()).toBe(1_800_000_000_000 - 300 + 1000 - 60_000);
    expect(clock.monotonicMs()).toBe(1000);
  });

  it('drifts: a fast clock has its timers early in the world, a slow one late', async () => {
    const world = new SimulatedScheduler();
    const fired: Record<string, number> = {};
    for (const drift of [0.1, 0, -0.1]) {
      new SimulatedClock(world, { drift }).setTimer(990, () => (fired[drift] = Math.round(world.nowMs())));
    }
    await world.runFor(2000);
    expect(fired).toEqual({ '0.1': 900, '0': 990, '-0.1': 1100 });
  });

  it('keeps a pending timer from coming early by a clock that has become slow', async () => {
    const world = new SimulatedScheduler();
    const clock = new SimulatedClock(world);
    let firedAtMs = 0;
    clock.setTimer(1000, () => (firedAtMs = world.nowMs()));
    await world.runFor(500);
    clock.setDrift(-0.5);
    await world.runFor(5000);
    expect(firedAtMs).toBeCloseTo(1500, 2);
    expect(clock.monotonicMs()).toBeCloseTo(500 + 2500, 2);
  });
});

describe('SimulatedProcess', () => {
  it('holds everything while paused, then runs what became due in order; nothing once killed', async () => {
    const world = new SimulatedScheduler();
    const process = new SimulatedProcess(world);
    const clock = new SimulatedClock(process);
    const ran: string[] = [];
    clock.setTimer(10, () => ran.push('first'));
    const cancelled = clock.setTimer(15, () => ran.push('cancelled'));
    clock.setTimer(20, () => ran.push('second'));
    clock.setTimer(900, () => ran.push('late'));
    process.pause();
    await world.runFor(100);
    expect(ran).toEqual([]);
    cancelled.cancel();
    process.resume();
    await world.runFor(1);
    expect(ran).toEqual(['first', 'second']);
    process.kill();
    await world.runFor(1000);
    expect(ran).toEqual(['first', 'second']);
  });
});

describe('SeededRandom', () => {
  const draw = (random: SeededRandom) => Array.from({ length: 8 }, () => random.u32());

  it('gives one stream for one seed, and others for others', () => {
    expect(draw(new SeededRandom(7))).toEqual(draw(new SeededRandom('7')));
    expect(draw(new SeededRandom(7))).not.toEqual(draw(new SeededRandom(8)));
  });

  it('forks by label, whatever was drawn before', () => {
    const fresh = new SeededRandom(7);
    const used = new SeededRandom(7);
    draw(used);
    expect(draw(fresh.fork('disk'))).toEqual(draw(used.fork('disk')));
    expect(draw(fresh.fork('disk'))).not.toEqual(draw(fresh.fork('network')));
  });
});
