import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SimulatedNetwork, type NetworkConditions } from '../../node/runtime/simulated/simulated-network.ts';
import { SimulatedProcess } from '../../node/runtime/simulated/simulated-process.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';

const NAMES = ['a', 'b', 'c'] as const;

function threeNodes(conditions: Partial<NetworkConditions> = {}, seed = 1) {
  const world = new SimulatedScheduler();
  const network = new SimulatedNetwork(world, new SeededRandom(seed), conditions);
  const processes = new Map(NAMES.map((name) => [name, new SimulatedProcess(world)]));
  const heard: string[] = [];
  const nodes = Object.fromEntries(
    NAMES.map((name) => {
      const transport = network.transport(name, processes.get(name)!);
      transport.onMessage((from, message) => heard.push(`${from}>${name} ${message.join('.')}`));
      return [name, transport];
    }),
  ) as Record<(typeof NAMES)[number], ReturnType<SimulatedNetwork['transport']>>;
  const sendAll = () => {
    for (const from of NAMES) for (const to of NAMES) if (from !== to) nodes[from].send(to, Uint8Array.of(1));
  };
  /** Sends on every link and gives the links that carried. */
  const probe = async () => {
    heard.length = 0;
    sendAll();
    await world.runFor(100);
    return heard.map((line) => line.split(' ')[0]).sort();
  };
  return { world, network, processes, nodes, heard, probe };
}

describe('SimulatedNetwork', () => {
  it('cuts one way only, and mends', async () => {
    const { network, probe } = threeNodes();
    network.cut('a', 'b');
    expect(await probe()).toEqual(['a>c', 'b>a', 'b>c', 'c>a', 'c>b']);
    expect(network.injections.of('cut')).toBe(1);
    network.mend('a', 'b');
    expect(await probe()).toHaveLength(6);
  });

  it('parts into sets, with a bridge or a lonely node, until healed', async () => {
    const { network, probe } = threeNodes();
    network.partition(['a', 'b']);
    expect(await probe()).toEqual(['a>b', 'b>a']);
    network.heal();
    network.partition(['a', 'b'], ['b', 'c']);
    expect(await probe()).toEqual(['a>b', 'b>a', 'b>c', 'c>b']);
    network.heal();
    expect(await probe()).toHaveLength(6);
  });

  it('loses what is on the way when the link is cut', async () => {
    const { world, network, nodes, heard } = threeNodes();
    nodes.a.send('b', Uint8Array.of(1));
    network.cut('a', 'b');
    await world.runFor(100);
    expect(heard).toEqual([]);
  });

  it('drops, repeats and reorders by chance, counts it, and stops when calmed', async () => {
    const { world, network, nodes, heard } = threeNodes({
      drop: 0.1,
      duplicate: 0.1,
      reorder: 0.3,
      delay: 0.05,
    });
    for (let i = 0; i < 500; i++) nodes.a.send('b', Uint8Array.of(i >> 8, i & 255));
    await world.runFor(5000);
    const counts = network.injections.all();
    expect(heard).toHaveLength(500 - counts['drop']! + counts['duplicate']!);
    for (const kind of ['drop', 'duplicate', 'reorder', 'delay']) expect(counts[kind]).toBeGreaterThan(5);
    const inOrder = Array.from({ length: 500 }, (_, i) => `a>b ${i >> 8}.${i & 255}`);
    expect(heard.filter((line, i) => line !== heard[i - 1])).not.toEqual(inOrder);
    network.calm();
    heard.length = 0;
    for (let i = 0; i < 500; i++) nodes.a.send('b', Uint8Array.of(i >> 8, i & 255));
    await world.runFor(5000);
    expect(heard).toEqual(inOrder);
  });

  it('does the same again with the same seed, and something else with another', async () => {
    const run = async (seed: number) => {
      const { probe, heard, world } = threeNodes({ drop: 0.2, duplicate: 0.2, reorder: 0.5 }, seed);
      const trace: string[] = [];
      for (let i = 0; i < 10; i++) {
        await probe();
        trace.push(...heard);
      }
      return `${trace.join()} ${world.executed}`;
    };
    expect(await run(5)).toBe(await run(5));
    expect(await run(5)).not.toBe(await run(6));
  });

  it('bounds the bytes on the way', async () => {
    const { world, network, nodes, heard } = threeNodes({ maxQueuedBytes: 1000 });
    for (let i = 0; i < 10; i++) nodes.a.send('b', new Uint8Array(300));
    expect(nodes.a.queuedBytes('b')).toBe(900);
    await world.runFor(100);
    expect([heard.length, nodes.a.queuedBytes('b'), network.injections.of('overflow')]).toEqual([3, 0, 7]);
  });

  it('delivers to a paused process when it goes on, and never to a killed one', async () => {
    const { world, processes, probe, heard } = threeNodes();
    processes.get('b')!.pause();
    processes.get('c')!.kill();
    expect(await probe()).toEqual(['b>a', 'c>a']);
    processes.get('b')!.resume();
    await world.runFor(1);
    expect(heard.filter((line) => line.includes('>b'))).toHaveLength(2);
  });
});
