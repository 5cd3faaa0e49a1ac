import { expect, test } from 'vitest';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

test('all that follows from an event has run before the next, however long the chain', async () => {
  const world = new SimulatedScheduler();
  const order: string[] = [];
  const chain = async (name: string, length: number) => {
    for (let i = 0; i < length; i++) await Promise.resolve();
    await new Promise<void>((resolve) => process.nextTick(resolve));
    for (let i = 0; i < length; i++) await Promise.resolve();
    order.push(name);
  };
  for (const [position, length] of [1_000, 3, 0, 200, 1].entries()) {
    world.after(1, () => {
      order.push(`event ${position}`);
      void chain(`end of ${position}`, length);
    });
  }
  await world.runFor(2);
  expect(order).toEqual([0, 1, 2, 3, 4].flatMap((event) => [`event ${event}`, `end of ${event}`]));
});

test('what an event throws ends the run, and the next run goes on', async () => {
  const world = new SimulatedScheduler();
  let after = false;
  world.after(1, () => {
    throw new Error('broken');
  });
  world.after(2, () => (after = true));
  await expect(world.runFor(5)).rejects.toThrow('broken');
  await world.runFor(5);
  expect(after).toBe(true);
});

test('the real event loop goes on beside a long run', async () => {
  const world = new SimulatedScheduler();
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const again = () => world.after(1, again);
  again();
  await world.runFor(20_000);
  isOver = true;
  expect(turns).toBeGreaterThan(2);
});
